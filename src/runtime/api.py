#!/usr/bin/env python3
"""The public interface of frcnn, from rustdoc's JSON: one line for each item that a program can name.

api.py FOLDER GOLDEN            compare what FOLDER/*.json says with the file GOLDEN
api.py FOLDER GOLDEN --refresh  write GOLDEN

Types of other crates that are shown and cannot be named through frcnn are an error either way.
"""
import difflib
import json
import pathlib
import sys

ROOT = "frcnn"
# What everybody has, and serde's traits, whose version 1 is a promise.
OPEN = {"std", "core", "alloc", "serde", "serde_core"}
# What `derive` adds for the compiler. Of the traits that it finds by itself, Send and Sync are listed.
COMPILERS = {"StructuralPartialEq"}


class Crate:
    def __init__(self, path):
        with open(path, encoding="utf-8") as file:
            data = json.load(file)
        self.index, self.paths, self.root = data["index"], data["paths"], data["root"]
        self.externals = {int(key): value["name"] for key, value in data["external_crates"].items()}
        self.name = self.index[str(self.root)]["name"]
        self.by_path = {tuple(p["path"]): key for key, p in self.paths.items() if p["crate_id"] == 0}

    def item(self, key):
        return self.index.get(str(key))

    def identity(self, key):
        """The crate and the path where something is defined."""
        path = self.paths.get(str(key))
        if path is None:
            return None
        crate = self.name if path["crate_id"] == 0 else self.externals[path["crate_id"]]
        return crate, tuple(path["path"])


class Interface:
    def __init__(self, folder):
        files = sorted(pathlib.Path(folder).glob("frcnn*.json"))
        self.crates = {crate.name: crate for crate in map(Crate, files)}
        self.lines = set()
        self.named = {}
        self.shown = {}
        self.aliases = []
        crate = self.crates[ROOT]
        self.walk(crate, crate.root, ROOT)
        for identity, path in self.aliases:
            owner = self.crates[identity[0]]
            if identity not in self.named:
                self.walk(owner, owner.by_path[identity[1]], path)

    # What can be named.

    def walk(self, crate, key, path):
        item = crate.item(key)
        if item is None:
            return
        kind, inner = next(iter(item["inner"].items()))
        identity = crate.identity(key)
        if identity and kind != "module":
            if identity in self.named:
                self.lines.add(f"{path} = {self.named[identity]}")
                return
            self.named[identity] = path
        getattr(self, kind, self.other)(crate, item, inner, path)

    def module(self, crate, item, inner, path):
        self.lines.add(f"{path}: mod")
        uses = [key for key in inner["items"] if "use" in (crate.item(key) or {"inner": {}})["inner"]]
        # What stands here itself, and names of single items, come before whole crates: the shortest path is the item's own.
        own = [key for key in inner["items"] if key not in uses]
        whole = [key for key in uses if self.target(crate, key)[2]]
        for key in own + [key for key in uses if key not in whole] + whole:
            item = crate.item(key)
            if item is None:
                continue
            if key in uses:
                owner, target, _ = self.target(crate, key)
                if owner:
                    use = item["inner"]["use"]
                    self.walk(owner, target, path if use["is_glob"] else f"{path}::{use['name']}")
                else:
                    identity = crate.identity(item["inner"]["use"]["id"])
                    self.lines.add(f"{path}::{item['inner']['use']['name']} = {'::'.join(identity[1])}")
            else:
                self.walk(crate, key, f"{path}::{item['name']}")

    def target(self, crate, key):
        """What a `use` names: its crate, its id there, and whether that is a module."""
        use = crate.item(key)["inner"]["use"]
        if crate.item(use["id"]):
            return crate, use["id"], "module" in crate.item(use["id"])["inner"]
        name, path = crate.identity(use["id"])
        owner = self.crates.get(name)
        if owner is None:
            return None, None, False
        if len(path) == 1:
            return owner, owner.root, True
        return owner, owner.by_path[path], False

    def struct(self, crate, item, inner, path):
        kind = inner["kind"]
        fields = kind["plain"]["fields"] if "plain" in kind else kind["tuple"] if "tuple" in kind else []
        hidden = "plain" in kind and kind["plain"]["has_stripped_fields"] or None in fields
        self.head("struct", crate, item, inner, path, " { .. }" if hidden else "")
        for field in map(crate.item, filter(lambda f: f is not None, fields)):
            if field:
                self.lines.add(f"{path}.{field['name']}: {self.type(crate, field['inner']['struct_field'], path)}")
        self.impls(crate, inner["impls"], path)

    def enum(self, crate, item, inner, path):
        self.head("enum", crate, item, inner, path)
        for variant in filter(None, map(crate.item, inner["variants"])):
            kind = variant["inner"]["variant"]["kind"]
            fields = []
            if isinstance(kind, dict):
                keys = kind["tuple"] if "tuple" in kind else kind["struct"]["fields"]
                for field in filter(None, map(crate.item, filter(lambda f: f is not None, keys))):
                    name = "" if field["name"].isdigit() else f"{field['name']}: "
                    fields.append(name + self.type(crate, field["inner"]["struct_field"], path))
            self.lines.add(f"{path}::{variant['name']}({', '.join(fields)})")
        self.impls(crate, inner["impls"], path)

    def trait(self, crate, item, inner, path):
        bounds = self.bounds(crate, inner["bounds"], path)
        self.head("trait", crate, item, inner, path, f": {bounds}" if bounds else "")
        for key in inner["items"]:
            self.member(crate, key, path)

    def impls(self, crate, keys, path):
        traits = set()
        for impl in filter(None, map(crate.item, keys)):
            inner = impl["inner"]["impl"]
            name = inner["trait"] and inner["trait"]["path"].rsplit("::", 1)[-1]
            if inner["blanket_impl"] or name in COMPILERS or inner["is_synthetic"] and name not in ("Send", "Sync"):
                continue
            if inner["trait"] is None:
                for key in inner["items"]:
                    self.member(crate, key, path)
                continue
            name = ("!" if inner["is_negative"] else "") + self.path(crate, inner["trait"], path, shown=False)
            traits.add(name)
            for member in filter(None, map(crate.item, inner["items"])):
                if "assoc_type" in member["inner"]:
                    value = self.type(crate, member["inner"]["assoc_type"]["type"], path)
                    self.lines.add(f"{path} as {name}::{member['name']} = {value}")
        self.lines.add(f"{path}: {' + '.join(sorted(traits))}")

    def member(self, crate, key, path):
        item = crate.item(key)
        if item:
            kind, inner = next(iter(item["inner"].items()))
            getattr(self, kind, self.other)(crate, item, inner, f"{path}::{item['name']}")

    def function(self, crate, item, inner, path):
        sig, header = inner["sig"], inner["header"]
        words = [word for word in ("const", "unsafe", "async") if header[f"is_{word}"]]
        inputs = [f"{name}: {self.type(crate, kind, path)}" for name, kind in sig["inputs"]]
        output = f" -> {self.type(crate, sig['output'], path)}" if sig["output"] else ""
        generics = self.generics(crate, inner["generics"], path)
        self.lines.add(f"{path}: {' '.join(words + ['fn'])}{generics}({', '.join(inputs)}){output}")

    def constant(self, crate, item, inner, path):
        self.lines.add(f"{path}: const {self.type(crate, inner['type'], path)}")

    def assoc_const(self, crate, item, inner, path):
        self.constant(crate, item, inner, path)

    def type_alias(self, crate, item, inner, path):
        generics = self.generics(crate, inner["generics"], path)
        self.lines.add(f"{path}: type{generics} = {self.type(crate, inner['type'], path)}")
        # An alias is a name, too.
        identity = crate.identity(inner["type"].get("resolved_path", {"id": None})["id"])
        if identity and identity[0] in self.crates:
            self.aliases.append((identity, path))

    def other(self, crate, item, inner, path):
        self.lines.add(f"{path}: {next(iter(item['inner']))}")

    def head(self, what, crate, item, inner, path, rest=""):
        mark = "non_exhaustive " if "non_exhaustive" in item["attrs"] else ""
        self.lines.add(f"{path}: {mark}{what}{self.generics(crate, inner['generics'], path)}{rest}")

    # Types in words. `path` is the item that shows them.

    def type(self, crate, kind, path):
        if kind is None:
            return "_"
        name, inner = next(iter(kind.items()))
        of = lambda key="type": self.type(crate, inner[key], path)
        if name == "resolved_path":
            return self.path(crate, inner, path)
        if name in ("generic", "primitive"):
            return inner
        if name == "borrowed_ref":
            lifetime = f"{inner['lifetime']} " if inner["lifetime"] else ""
            return f"&{lifetime}{'mut ' if inner['is_mutable'] else ''}{of()}"
        if name == "raw_pointer":
            return f"*{'mut' if inner['is_mutable'] else 'const'} {of()}"
        if name == "slice":
            return f"[{self.type(crate, inner, path)}]"
        if name == "array":
            return f"[{of()}; {inner['len']}]"
        if name == "tuple":
            return f"({', '.join(self.type(crate, each, path) for each in inner)})"
        if name == "impl_trait":
            return f"impl {self.bounds(crate, inner, path)}"
        if name == "dyn_trait":
            return "dyn " + " + ".join(self.path(crate, each["trait"], path) for each in inner["traits"])
        if name == "qualified_path":
            return f"{of('self_type')}::{inner['name']}"
        if name == "function_pointer":
            inputs = ", ".join(self.type(crate, each, path) for _, each in inner["sig"]["inputs"])
            output = inner["sig"]["output"]
            return f"fn({inputs})" + (f" -> {self.type(crate, output, path)}" if output else "")
        return json.dumps(kind)

    def path(self, crate, inner, path, shown=True):
        identity = crate.identity(inner["id"])
        if shown and identity and identity[0] not in OPEN:
            self.shown.setdefault(identity, set()).add(path)
        return inner["path"].rsplit("::", 1)[-1] + self.arguments(crate, inner["args"], path)

    def arguments(self, crate, args, path):
        if not args:
            return ""
        if "parenthesized" in args:
            inner = args["parenthesized"]
            inputs = ", ".join(self.type(crate, each, path) for each in inner["inputs"])
            return f"({inputs})" + (f" -> {self.type(crate, inner['output'], path)}" if inner["output"] else "")
        words = []
        for each in args.get("angle_bracketed", {}).get("args", []):
            if "type" in each:
                words.append(self.type(crate, each["type"], path))
            elif "const" in each:
                words.append(each["const"]["expr"])
            elif "lifetime" in each:
                words.append(each["lifetime"])
        for each in args.get("angle_bracketed", {}).get("constraints", []):
            if "equality" in each["binding"] and "type" in each["binding"]["equality"]:
                words.append(f"{each['name']} = {self.type(crate, each['binding']['equality']['type'], path)}")
        return f"<{', '.join(words)}>" if words else ""

    def bounds(self, crate, bounds, path):
        words = []
        for each in bounds:
            if "trait_bound" in each:
                question = "?" if each["trait_bound"]["modifier"] == "maybe" else ""
                words.append(question + self.path(crate, each["trait_bound"]["trait"], path))
            elif "outlives" in each:
                words.append(each["outlives"])
        return " + ".join(words)

    def generics(self, crate, generics, path):
        words = []
        for each in generics["params"]:
            kind = each["kind"]
            if "type" in kind and not kind["type"]["is_synthetic"]:
                bounds = self.bounds(crate, kind["type"]["bounds"], path)
                words.append(each["name"] + (f": {bounds}" if bounds else ""))
            elif "const" in kind:
                words.append(f"const {each['name']}: {self.type(crate, kind['const']['type'], path)}")
        return f"<{', '.join(words)}>" if words else ""


def main():
    folder, golden = sys.argv[1], pathlib.Path(sys.argv[2])
    interface = Interface(folder)
    unnamed = {"::".join(i[1]): places for i, places in interface.shown.items() if i not in interface.named}
    for name, places in sorted(unnamed.items()):
        print(f"{name} is shown and has no name in frcnn: {', '.join(sorted(places)[:3])}", file=sys.stderr)
    text = "\n".join(sorted(interface.lines)) + "\n"
    if "--refresh" in sys.argv[3:]:
        golden.write_text(text, encoding="utf-8")
    before = golden.read_text(encoding="utf-8") if golden.exists() else ""
    changes = list(difflib.unified_diff(before.splitlines(), text.splitlines(), golden.name, "now", lineterm="", n=0))
    print("\n".join(changes))
    if changes:
        print("the public interface has changed: src/runtime/ci api --refresh writes it; CHANGELOG says what a user has to do",
              file=sys.stderr)
    if changes or unnamed:
        return 1
    print(f"{len(interface.lines)} lines of public interface, {len(interface.named)} items, as in {golden.name}")
    return 0


sys.exit(main())
