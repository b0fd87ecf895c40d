"""A small XML Schema checker: as much of XSD 1.0 as the outage schemas use, on the standard library alone.

Order, cardinality, required attributes, enumerations and the built-in types that occur. Content models are matched
greedily, which is enough where names in a sequence are distinct.
"""

import re
from pathlib import Path
from xml.etree import ElementTree as ET

XS = "{http://www.w3.org/2001/XMLSchema}"
_PATTERN = {
    "dateTime": re.compile(r"-?\d{4,}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)?"),
    "boolean": re.compile(r"true|false|0|1"),
    "integer": re.compile(r"[+-]?\d+"),
    "long": re.compile(r"[+-]?\d+"),
    "int": re.compile(r"[+-]?\d+"),
    "float": re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?|INF|-INF|NaN"),
    "decimal": re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)"),
}


class Schema:
    """Named elements and types of a schema and of what it imports."""

    def __init__(self, path: Path) -> None:
        self.named: dict[tuple[str, str], tuple[ET.Element, dict[str, str], str]] = {}
        self._load(path, set())

    def errors(self, document: bytes) -> list[str]:
        """What is wrong with a document; nothing where it is valid."""
        root = ET.fromstring(document)
        found: list[str] = []
        if ("element", root.tag) not in self.named:
            return [f"{root.tag}: no such element"]
        self._element(root, self.named["element", root.tag], found)
        return found

    def _load(self, path: Path, done: set[Path]) -> None:
        if path in done:
            return
        done.add(path)
        prefixes: dict[str, str] = {}
        for _, (prefix, uri) in ET.iterparse(path, events=["start-ns"]):
            prefixes[prefix] = uri
        root = ET.parse(path).getroot()
        target = root.get("targetNamespace", "")
        for child in root:
            kind = child.tag.removeprefix(XS)
            if kind in ("import", "include") and child.get("schemaLocation"):
                self._load((path.parent / child.get("schemaLocation", "")).resolve(), done)
            elif child.get("name"):
                kind = "type" if kind in ("complexType", "simpleType") else kind
                self.named[kind, f"{{{target}}}{child.get('name')}"] = (child, prefixes, target)

    def _element(self, node: ET.Element, declared: tuple[ET.Element, dict[str, str], str], found: list[str]) -> None:
        declaration, prefixes, target = declared
        inline = declaration.find(f"{XS}complexType")
        simple = declaration.find(f"{XS}simpleType")
        if inline is not None:
            self._complex(node, (inline, prefixes, target), found)
        elif simple is not None:
            self._simple(node.text or "", (simple, prefixes, target), node.tag, found)
        elif declaration.get("type"):
            self._typed(node, self._name(declaration.get("type", ""), prefixes), found)

    def _typed(self, node: ET.Element, type_name: str, found: list[str]) -> None:
        if type_name.startswith(XS):
            self._builtin(node.text or "", type_name.removeprefix(XS), node.tag, found)
            if len(node):
                found.append(f"{node.tag}: holds elements")
            return
        declared = self.named["type", type_name]
        if declared[0].tag == f"{XS}simpleType":
            self._simple(node.text or "", declared, node.tag, found)
        else:
            self._complex(node, declared, found)

    def _complex(self, node: ET.Element, declared: tuple[ET.Element, dict[str, str], str], found: list[str]) -> None:
        content = declared[0].find(f"{XS}simpleContent")
        if content is None:
            rest = self._content(list(node), declared, node.tag, found)
            if rest:
                found.append(f"{node.tag}: {rest[0].tag} is not expected here")
        for name, attribute, prefixes in self._attributes(declared):
            value = node.get(name)
            if value is None and attribute.get("use") == "required":
                found.append(f"{node.tag}: attribute {name} is required")
            if value is not None and attribute.get("type"):
                self._value(value, self._name(attribute.get("type", ""), prefixes), f"{node.tag}@{name}", found)

    def _content(
        self, children: list[ET.Element], declared: tuple[ET.Element, dict[str, str], str], where: str, found: list[str]
    ) -> list[ET.Element]:
        node, prefixes, target = declared
        extension = node.find(f"{XS}complexContent/{XS}extension")
        if extension is not None:
            base = self.named["type", self._name(extension.get("base", ""), prefixes)]
            children = self._content(children, base, where, found)
            node = extension
        for group in ("sequence", "choice", "all"):
            model = node.find(f"{XS}{group}")
            if model is not None:
                children = self._model(children, (model, prefixes, target), where, found)
        return children

    def _model(
        self, children: list[ET.Element], declared: tuple[ET.Element, dict[str, str], str], where: str, found: list[str]
    ) -> list[ET.Element]:
        model, prefixes, target = declared
        choice = model.tag == f"{XS}choice"
        for particle in model:
            low, high = int(particle.get("minOccurs", "1")), particle.get("maxOccurs", "1")
            most = len(children) if high == "unbounded" else int(high)
            if particle.tag == f"{XS}any":
                return children[most:]
            if particle.tag != f"{XS}element":
                children = self._model(children, (particle, prefixes, target), where, found)
                continue
            name, item = self._particle(particle, prefixes, target)
            count = 0
            while children and count < most and children[0].tag == name:
                self._element(children[0], item, found)
                children, count = children[1:], count + 1
            if count < low and not choice:
                found.append(f"{where}: {name} is required")
        return children

    def _particle(
        self, particle: ET.Element, prefixes: dict[str, str], target: str
    ) -> tuple[str, tuple[ET.Element, dict[str, str], str]]:
        if particle.get("ref"):
            name = self._name(particle.get("ref", ""), prefixes)
            return name, self.named["element", name]
        return f"{{{target}}}{particle.get('name')}", (particle, prefixes, target)

    def _attributes(
        self, declared: tuple[ET.Element, dict[str, str], str]
    ) -> list[tuple[str, ET.Element, dict[str, str]]]:
        node, prefixes, _ = declared
        own = [(a.get("name", ""), a, prefixes) for a in node.iter(f"{XS}attribute")]
        for extension in node.iter(f"{XS}extension"):
            base = self._name(extension.get("base", ""), prefixes)
            if not base.startswith(XS):
                own += self._attributes(self.named["type", base])
        return own

    def _simple(
        self, text: str, declared: tuple[ET.Element, dict[str, str], str], where: str, found: list[str]
    ) -> None:
        restriction = declared[0].find(f"{XS}restriction")
        assert restriction is not None
        allowed = [e.get("value") for e in restriction.findall(f"{XS}enumeration")]
        if allowed and text not in allowed:
            found.append(f"{where}: {text!r} is not one of {allowed}")
        self._value(text, self._name(restriction.get("base", ""), declared[1]), where, found)

    def _value(self, text: str, type_name: str, where: str, found: list[str]) -> None:
        if type_name.startswith(XS):
            self._builtin(text, type_name.removeprefix(XS), where, found)
        else:
            self._simple(text, self.named["type", type_name], where, found)

    def _builtin(self, text: str, name: str, where: str, found: list[str]) -> None:
        pattern = _PATTERN.get(name)
        if pattern is not None and not pattern.fullmatch(text.strip()):
            found.append(f"{where}: {text!r} is no {name}")

    def _name(self, qualified: str, prefixes: dict[str, str]) -> str:
        prefix, _, name = qualified.rpartition(":")
        return f"{{{prefixes.get(prefix, '')}}}{name}"
