"""Device names as rows show them: octets that are no text stand there in hexadecimal, as a title does.

What is shown as an enrolled meter, or as a title with a key, is filed under that meter's id: it owes what the meter
owes.
"""

from typing import Final

import numpy as np

from ingest.clocks import Micros
from ingest.enrolment import NOT_ENROLLED, Enrolment, has_key
from ingest.keyring import Keyring
from ingest.slots import texts_of
from ingest.spans import Flags, Octets, Places
from ingest.titles import titles_from_hex

_SPACE, _DELETE = 0x20, 0x7F
_A_TITLE: Final = "^[0-9a-f]{16}$"
"""What the rows of a title are filed under where METERS does not know it."""


def meters_shown(octets: Octets, when: Micros, enrolment: Enrolment) -> Places:
    """The line of the meter whose id these names are shown as, of those that are no text; else `NOT_ENROLLED`."""
    found = np.full(len(octets), NOT_ENROLLED, np.int64)
    odd = np.flatnonzero((((octets < _SPACE) & (octets != 0)) | (octets >= _DELETE)).any(axis=1))
    if len(odd) and len(enrolment.meter_id):
        found[odd] = enrolment.rows_of_ids(texts_of(octets[odd]), when[odd])
    return found


def keyed_titles_shown(octets: Octets, keyring: Keyring) -> Flags:
    """Whether these names are shown as a system title that has a key."""
    shown = texts_of(octets)
    is_title = shown.str.contains(_A_TITLE)
    keyed = is_title.to_numpy().copy()
    keyed[keyed] = has_key(titles_from_hex(shown.filter(is_title)), keyring)
    return keyed
