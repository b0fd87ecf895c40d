"""`ami keys`: a book of keys that is wrapped from its first byte on, and verbs that show none."""

import fcntl
import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from app.cli import main
from app.kek import held_book, load_book, write_book
from ingest.key_book import of_kind
from ingest.key_files import parse_clear, parse_wrapped, render_lines
from ingest.key_rows import join_rows
from ingest.keyring import Keyring
from schemas.errors import ContractError

TITLE, OTHER = "4d4d4d0000bc614e", "4d4d4d0000bc614f"
EK, AK = bytes(range(16)).hex(), bytes(range(0xD0, 0xE0)).hex()
NEW = bytes(range(0x70, 0x80)).hex()
KEK = bytes(range(32))


@pytest.fixture
def run(tmp_path, capsys, monkeypatch):
    (tmp_path / "kek").write_text(KEK.hex() + "\n")
    monkeypatch.setenv("AMI_TEST_KEK", KEK.hex())

    def ami(*arguments):
        kek = (
            []
            if arguments[0] == "list" or any("--kek" in each for each in arguments)
            else ["--kek-file", f"{tmp_path}/kek"]
        )
        code = main(["keys", *arguments, "--book", f"{tmp_path}/book.csv", *kek])
        printed = capsys.readouterr()
        for key in (EK, AK, KEK.hex()):
            assert key not in printed.out + printed.err
        return code, printed.out, printed.err

    return ami


def clear(folder, *rows):
    file = folder / "clear.csv"
    file.write_text("system_title,ek,ak\n" + "".join(f"{row}\n" for row in rows))
    return str(file)


def test_keys_are_imported_rotated_listed_and_verified(run, tmp_path):
    assert run("import", clear(tmp_path, f"{TITLE},{EK},{AK}", f"{OTHER},{EK},{AK}"))[0] == 0
    text = (tmp_path / "book.csv").read_text()
    assert EK not in text and AK not in text
    assert run("rotate", clear(tmp_path, f"{TITLE},{AK},{EK}"), "--revoke-old")[0] == 0
    listed = json.loads(run("list", "--json")[1])["keys"]
    assert [(row["system_title"], row["version"], row["status"]) for row in listed] == [
        (TITLE, 2, "active"), (TITLE, 1, "revoked"), (OTHER, 1, "active")
    ]  # fmt: skip
    assert json.loads(run("verify", "--json")[1])["by_status"] == {"active": 2, "revoked": 1}
    keys = Keyring(parse_wrapped((tmp_path / "book.csv").read_text(), KEK)).find(bytes.fromhex(TITLE))
    assert keys is not None and (keys.ek.hex(), keys.key_id) == (AK, "guek/2")


def test_the_wrapping_key_may_come_from_the_environment_or_a_command(run, tmp_path):
    assert run("import", clear(tmp_path, f"{TITLE},{EK},{AK}"), "--kek-env", "AMI_TEST_KEK")[0] == 0
    assert run("verify", "--kek-command", f"cat {tmp_path}/kek")[0] == 0


@pytest.mark.parametrize(("arguments", "named"), [
    (("verify", "--kek-env", "NO_SUCH_VARIABLE"), "NO_SUCH_VARIABLE"),
    (("verify", "--kek-command", "false"), "false"),
    (("verify", "--kek-command", "no-such-program-anywhere"), "no-such-program-anywhere"),
    (("verify", "--kek-command", ""), "command is empty"),
    (("verify", "--kek-command", "  "), "command is empty"),
    (("verify", "--kek-env", "AMI_TEST_KEK", "--kek-command", "true"), "exactly one"),
])  # fmt: skip
def test_a_wrapping_key_that_cannot_be_had_is_one_clear_line(run, tmp_path, arguments, named):
    assert run("import", clear(tmp_path, f"{TITLE},{EK},{AK}"))[0] == 0
    code, _, said = run(*arguments)
    assert code == 2 and named in said and "Traceback" not in said


def test_an_import_of_a_known_meter_and_a_rotation_of_an_unknown_one_are_refused(run, tmp_path):
    assert run("import", clear(tmp_path, f"{TITLE},{EK},{AK}"))[0] == 0
    before = (tmp_path / "book.csv").read_text()
    assert run("import", clear(tmp_path, f"{TITLE},{EK},{AK}"))[0] == 2
    assert run("rotate", clear(tmp_path, f"{OTHER},{EK},{AK}"))[0] == 2
    assert (tmp_path / "book.csv").read_text() == before


def test_a_rotation_ends_when_the_older_version_is_revoked_and_a_lost_key_goes_with_it(run, tmp_path):
    assert run("import", clear(tmp_path, f"{TITLE},{EK},{AK}", f"{OTHER},{EK},{AK}"))[0] == 0
    assert run("rotate", clear(tmp_path, f"{TITLE},{AK},{EK}", f"{OTHER},{AK},{EK}"))[0] == 0
    meters = tmp_path / "meters.csv"
    meters.write_text(f"meter_id,system_title\none,{TITLE}\n")
    assert run("verify", "--json")[1].count('"revoked"') == 0
    assert run("revoke", str(meters))[0] == 0
    meters.write_text(f"meter_id,system_title\nother,{OTHER}\n")
    assert run("revoke", str(meters), "--newest-too")[0] == 0
    listed = json.loads(run("list", "--json")[1])["keys"]
    assert [(row["system_title"], row["version"], row["status"]) for row in listed] == [
        (TITLE, 2, "active"), (TITLE, 1, "revoked"), (OTHER, 2, "revoked"), (OTHER, 1, "revoked")
    ]  # fmt: skip
    meters.write_text("meter_id,system_title\nnobody,0000000000000001\n")
    code, _, said = run("revoke", str(meters))
    assert code == 2 and "0000000000000001 has no key" in said


def test_a_book_that_no_worker_could_load_is_never_written(run, tmp_path):
    assert run("import", clear(tmp_path, f"{TITLE},{EK},{AK}"))[0] == 0
    before = (tmp_path / "book.csv").read_text()
    code, _, said = run("import", clear(tmp_path, f"{OTHER},{EK},{AK}", f"{OTHER},{AK},{EK}"))
    assert code == 2 and "two keys" in said
    assert (tmp_path / "book.csv").read_text() == before


def test_a_rotation_to_keys_that_the_meter_had_before_is_refused(run, tmp_path):
    """Their counters would be a new stream, in which every recorded message is news."""
    run("import", clear(tmp_path, f"{TITLE},{EK},{AK}", f"{OTHER},{AK},"))
    assert run("rotate", clear(tmp_path, f"{TITLE},{AK},{EK}"))[0] == 0
    book = (tmp_path / "book.csv").read_bytes()
    for had in (f"{TITLE},{EK},{AK}", f"{TITLE},{AK},{EK}", f"{OTHER},{AK},"):
        code, _, said = run("rotate", clear(tmp_path, had))
        assert code == 2 and had[:16] in said and "has this encryption key already" in said
        assert (tmp_path / "book.csv").read_bytes() == book
    assert run("rotate", clear(tmp_path, f"{TITLE},{NEW},{EK}", f"{OTHER},{EK * 2},"), "--revoke-old")[0] == 0


def test_a_third_valid_version_is_refused_until_the_eldest_is_revoked(run, tmp_path):
    run("import", clear(tmp_path, f"{TITLE},{EK},{AK}", f"{OTHER},{EK},{AK}"))
    assert run("rotate", clear(tmp_path, f"{TITLE},{AK},{EK}"))[0] == 0
    book = (tmp_path / "book.csv").read_bytes()
    code, _, said = run("rotate", clear(tmp_path, f"{OTHER},{AK},{EK}", f"{TITLE},{NEW},{EK}"))
    assert code == 2 and TITLE in said and "two valid versions already" in said and "--revoke-old" in said
    assert (tmp_path / "book.csv").read_bytes() == book
    revoked = tmp_path / "revoked.csv"
    revoked.write_text(f"system_title\n{TITLE}\n")
    assert run("revoke", str(revoked))[0] == 0
    assert run("rotate", clear(tmp_path, f"{OTHER},{AK},{EK}", f"{TITLE},{NEW},{EK}"))[0] == 0


def test_a_new_authentication_key_beside_an_encryption_key_that_the_meter_had_is_refused(run, tmp_path):
    """A counter may never come again under one encryption key, and a revoked one must open nothing."""
    run("import", clear(tmp_path, f"{TITLE},{EK},{AK}", f"{OTHER},{EK},"))
    assert run("rotate", clear(tmp_path, f"{TITLE},{AK},{EK}"), "--revoke-old")[0] == 0
    book = (tmp_path / "book.csv").read_bytes()
    for had in (f"{TITLE},{AK},{NEW}", f"{TITLE},{EK},{NEW}", f"{OTHER},{EK},{AK}"):
        code, _, said = run("rotate", clear(tmp_path, had))
        assert code == 2 and had[:16] in said and "has this encryption key already" in said
        assert (tmp_path / "book.csv").read_bytes() == book


def test_a_key_that_a_meter_has_or_had_as_the_other_kind_is_refused_and_the_book_stays(run, tmp_path):
    assert run("import", clear(tmp_path, f"{TITLE},{EK},{AK}", f"{OTHER},{AK},{AK}"))[0] == 0
    before = (tmp_path / "book.csv").read_text()
    for title in (TITLE, "00" * 8):
        code, _, said = run("import", clear(tmp_path, f"{title},{EK},{EK}"), "--kind", "gbek")
        assert code == 2 and TITLE in said and "guek/1" in said and "gbek/1" in said and "rotate" in said
    assert (tmp_path / "book.csv").read_text() == before
    assert run("rotate", clear(tmp_path, f"{TITLE},{NEW},{AK}"), "--revoke-old")[0] == 0
    assert run("import", clear(tmp_path, f"{TITLE},{EK},{AK}"), "--kind", "gbek")[0] == 2  # recorded under guek/1
    assert run("import", clear(tmp_path, f"{TITLE},{AK},{AK}"), "--kind", "gbek")[0] == 0
    assert run("rotate", clear(tmp_path, f"{TITLE},{AK},{EK}"))[0] == 2


def test_a_book_that_was_cut_short_is_refused_wherever_it_ends(run, tmp_path):
    run("import", clear(tmp_path, f"{TITLE},{EK},{AK}", f"{OTHER},{EK},{AK}"))
    book = tmp_path / "book.csv"
    whole = book.read_bytes()
    ends_of_lines = [at for at in range(len(whole) + 1) if whole[:at].endswith(b"\n")]
    for length in sorted({0, 1, len(whole) - 1, whole.rindex(b","), whole.rindex(b",") + 1, *range(2, len(whole), 37)}):
        if length not in ends_of_lines:
            book.write_bytes(whole[:length])
            assert run("verify")[0] == 2, length
            assert (
                run("import", clear(tmp_path, f"{AK[:16]},{EK},{AK}"))[0] == 2 and book.read_bytes() == whole[:length]
            )


def altered_books(lines):
    """The lines of a book, the seal last, as somebody without the key-encrypting key can make them another's."""
    header, first, second, third, seal = lines
    count = seal.split(",")[1]
    return {
        "the last line lost, the seal kept": [header, first, second, seal],
        "the last line lost, the count made to fit": [header, first, second, seal.replace(f",{count},", ",2,")],
        "the first line lost": [header, second, third, seal],
        "a line twice": [header, first, first, second, third, seal],
        "two lines changed places": [header, second, first, third, seal],
        "a key given to another meter": [header, first.replace(first[:16], "00000000000000ff"), second, third, seal],
        "a revoked key brought back": [header, first, second, third.replace("revoked", "active"), seal],
        "a key as another kind": [header, first.replace("guek", "gbek"), second, third, seal],
        "an older version made the newest": [header, first, second.replace(",2,", ",3,"), third, seal],
        "a line behind the seal": [header, first, second, seal, third],
        "two seals": [header, first, second, third, seal, seal],
        "the seal of nothing": [header, seal],
        "a mac of zeros": [header, first, second, third, f"end,{count},{'0' * 64}\n"],
        "a mac cut short": [header, first, second, third, seal[:-10] + "\n"],
        "no number": [header, first, second, third, seal.replace(f",{count},", ",,")],
    }


def test_a_book_that_lost_whole_lines_or_was_altered_is_refused_and_no_verb_changes_it(run, tmp_path):
    assert run("import", clear(tmp_path, f"{TITLE},{EK},{AK}", f"{OTHER},{EK},{AK}"))[0] == 0
    assert run("rotate", clear(tmp_path, f"{OTHER},{AK},{AK}"), "--revoke-old")[0] == 0
    book = tmp_path / "book.csv"
    lines = book.read_text().splitlines(keepends=True)
    assert lines[-1].startswith("end,3,") and len(lines) == 5
    for name, altered in altered_books(lines).items():
        assert altered != lines, name
        book.write_text("".join(altered))
        for verb in (
            ("verify",),
            ("seal", "--keys", "3"),
            ("seal",),
            ("import", clear(tmp_path, f"{AK[:16]},{EK},{AK}")),
        ):
            code, _, said = run(*verb)
            assert code == 2 and "keys: " in said and "Traceback" not in said, (name, verb)
        assert book.read_text() == "".join(altered)
    book.write_text("".join([*lines[:2], lines[-1]]))
    assert "(sealed with 3 keys, holds 1)" in run("verify")[2]
    assert run("list")[0] == 2


def test_a_book_without_a_seal_is_refused_until_its_keys_are_counted_and_it_is_sealed(run, tmp_path):
    assert run("import", clear(tmp_path, f"{TITLE},{EK},{AK}", f"{OTHER},{EK},{AK}"))[0] == 0
    book = tmp_path / "book.csv"
    sealed = book.read_text()
    unsealed = sealed[: sealed.rindex("end,")]
    book.write_text(unsealed)
    for verb in (("verify",), ("rotate", clear(tmp_path, f"{TITLE},{AK},{EK}"))):
        code, _, said = run(*verb)
        assert code == 2 and "ami keys seal" in said
    listed = json.loads(run("list", "--json")[1])
    assert len(listed["keys"]) == 2 and listed["sealed"] is False
    code, out, said = run("list")
    assert code == 0 and len(out.splitlines()) == 2 and "no seal" in said and "ami keys seal" in said
    book.write_text(unsealed[: unsealed[:-1].rindex("\n") + 1])  # cut behind a whole line: one key is gone
    code, out, said = run("list")
    assert code == 0 and len(out.splitlines()) == 1 and "may lack" in said
    book.write_text(unsealed)
    told = json.loads(run("seal", "--json")[1])
    assert told["keys"] == 2 and told["sealed"] is False
    code, _, said = run("seal", "--keys", "3")
    assert code == 2 and "holds 2" in said and book.read_text() == unsealed
    assert run("seal", "--keys", "2")[0] == 0
    assert book.read_text() == sealed and run("verify")[0] == 0
    assert json.loads(run("list", "--json")[1])["sealed"] is True and run("list")[2] == ""
    assert run("seal", "--keys", "2")[0] == 0 and book.read_text() == sealed


def test_an_old_book_with_one_key_of_both_kinds_can_be_sealed_and_then_mended(run, tmp_path):
    book = tmp_path / "book.csv"
    unicast = parse_clear(f"system_title,ek,ak\n{TITLE},{EK},{AK}\n")
    text = render_lines(join_rows([unicast, of_kind(unicast, "gbek")]), KEK)
    book.write_text(text)
    assert run("seal", "--keys", "2")[0] == 0 and book.read_text().startswith(text)
    code, _, said = run("verify")
    assert code == 2 and "ami keys rotate --revoke-old" in said
    assert run("rotate", clear(tmp_path, f"{TITLE},{NEW},{AK}"), "--revoke-old")[0] == 0
    assert run("rotate", clear(tmp_path, f"{TITLE},{AK},{AK}"), "--revoke-old", "--kind", "gbek")[0] == 0
    assert json.loads(run("verify", "--json")[1])["by_status"] == {"active": 2, "revoked": 2}


def test_a_seal_under_another_key_encrypting_key_is_none(tmp_path):
    book = tmp_path / "book.csv"
    write_book(book, parse_clear("system_title,ek,ak\n"), KEK)
    assert len(load_book(book, KEK).titles) == 0
    with pytest.raises(ContractError, match="KEK"):
        load_book(book, bytes(32))


def test_a_book_is_its_owner_s_alone_and_is_on_disk_before_it_takes_the_place_of_the_one_before(
    run, tmp_path, monkeypatch
):
    book = tmp_path / "book.csv"
    steps = []
    sync, replace = os.fsync, Path.replace

    def synced(opened):
        steps.append("folder" if stat.S_ISDIR(os.fstat(opened).st_mode) else "file")
        sync(opened)

    def replaced(part, target):
        assert stat.S_IMODE(part.stat().st_mode) == 0o600 and part.parent == target.parent
        steps.append("replace")
        return replace(part, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", replaced)
    assert run("import", clear(tmp_path, f"{TITLE},{EK},{AK}"))[0] == 0
    assert steps == ["file", "replace", "folder"] and stat.S_IMODE(book.stat().st_mode) == 0o600
    book.chmod(0o644)
    assert run("rotate", clear(tmp_path, f"{TITLE},{AK},{EK}"))[0] == 0
    assert stat.S_IMODE(book.stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir() if path.name.endswith(".part")] == []


def test_of_two_that_change_a_book_at_once_none_loses_its_keys(run, tmp_path):
    run("import", clear(tmp_path, f"{TITLE},{EK},{AK}"))
    book, key = tmp_path / "book.csv", tmp_path / "kek"
    news = []
    for number in range(4):
        news.append(tmp_path / f"new{number}.csv")
        news[-1].write_text(f"system_title,ek,ak\n{number:016x},{EK},{AK}\n")
    with held_book(book):
        verb = [sys.executable, "-m", "app.cli", "keys", "import"]
        started = [
            subprocess.Popen([*verb, new, "--book", book, "--kek-file", key], stdout=subprocess.DEVNULL) for new in news
        ]
        before = load_book(book, KEK)  # while one holds the book the others wait
    assert [each.wait(60) for each in started] == [0] * 4
    assert len(before.titles) == 1
    assert sorted(load_book(book, KEK).titles.tolist()) == [*range(4), int(TITLE, 16)]


def test_a_link_to_a_book_is_the_book_one_lock_and_one_file(run, tmp_path):
    run("import", clear(tmp_path, f"{TITLE},{EK},{AK}"))
    book, link = tmp_path / "book.csv", tmp_path / "links" / "link.csv"
    link.parent.mkdir()
    link.symlink_to("../book.csv")
    with held_book(link) as held, (tmp_path / ".book.csv.lock").open() as lock:
        assert held == book
        with pytest.raises(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    rotated = ["keys", "rotate", clear(tmp_path, f"{TITLE},{AK},{EK}"), "--book", str(link)]
    assert main([*rotated, "--kek-env", "AMI_TEST_KEK"]) == 0
    assert link.is_symlink() and sorted(path.name for path in link.parent.iterdir()) == ["link.csv"]
    assert len(load_book(book, KEK).titles) == 2


def test_a_link_to_a_book_that_is_not_yet_there_makes_the_book(run, tmp_path):
    link = tmp_path / "link.csv"
    link.symlink_to(tmp_path / "real" / "book.csv")
    arguments = ["keys", "import", clear(tmp_path, f"{TITLE},{EK},{AK}"), "--book", str(link)]
    assert main([*arguments, "--kek-env", "AMI_TEST_KEK"]) == 0
    assert link.is_symlink() and len(load_book(tmp_path / "real" / "book.csv", KEK).titles) == 1


def test_public_keys_that_a_book_does_not_keep_are_counted(run, tmp_path):
    numbers = ec.derive_private_key(7, ec.SECP256R1()).public_key().public_numbers()
    public = f"{numbers.x:064x}{numbers.y:064x}"
    file = tmp_path / "signing.csv"
    file.write_text(f"system_title,ek,ak,public_key\n{TITLE},{EK},,{public}\n{OTHER},,,{public}\n")
    code, said, beside = run("import", str(file), "--json")
    told = json.loads(said)
    assert code == 0 and (told["keys"], told["public_keys_left_out"], told["rows_without_key"]) == (1, 2, 1)
    assert f"{file}: " in beside and "keys.public_file" in beside
    file.write_text(f"system_title,ek,ak,public_key\n{TITLE},{AK},,{public}\n")
    code, said, beside = run("rotate", str(file))
    assert code == 0 and "public_keys_left_out: 1" in said and "rows_without_key: 0" in said and str(file) in beside
    code, said, beside = run("import", clear(tmp_path, f"{OTHER},{EK},"), "--json")
    assert code == 0 and json.loads(said)["public_keys_left_out"] == 0 and beside == ""


def test_the_folder_of_a_new_book_is_made(run, tmp_path):
    folder = tmp_path / "new" / "folder"
    code = main(
        ["keys", "import", clear(tmp_path, f"{TITLE},{EK},{AK}"), "--book", f"{folder}/b", "--kek-env", "AMI_TEST_KEK"]
    )
    assert code == 0 and (folder / "b").exists()


def test_what_is_wrong_with_a_file_of_keys_is_said_with_its_name(run, tmp_path):
    good, book = clear(tmp_path, f"{TITLE},{EK},{AK}"), tmp_path / "book.csv"
    assert run("import", good)[0] == 0
    bad = tmp_path / "bad.csv"
    bad.write_text("system_title,ek,ak\nzz,00,11\n")
    whole = book.read_text()
    for verb in ("import", "rotate", "revoke"):
        code, _, said = run(verb, str(bad))
        assert code == 2 and f"{bad}: " in said
    book.write_text(whole.replace("active", "asleep"))
    for verb in ("list", "verify"):
        code, _, said = run(verb)
        assert code == 2 and said.count(f"{book}: ") == 1
