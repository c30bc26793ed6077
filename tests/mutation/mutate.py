#!/usr/bin/env python3
"""Plants the mistakes of a list one at a time and asks whether the tests notice.

    python3 tests/mutation/mutate.py --source . --work build/mutation --sample 15
    python3 tests/mutation/mutate.py --source . --check          # do all anchors still match?

The sources are copied to the work directory, so the tree itself stays as it is. Each mutant is built in the copy; the
tests of its room run, then those of the rooms to its right. A failing test, a crash or a run beyond the limit of
processor time kills the mutant. The list is mutants.txt beside this file:

    # a comment
    models/schedulers/balancer.cpp
      anchor ==> replacement
      anchor ==>
      anchor ==> replacement ## equivalent: the reason why no test can tell

The anchor is a piece of that file and occurs in it once; white space between tokens does not count. An empty
replacement drops the piece. Equivalent mutants are not run. Exit status: 0; 1 if fewer than --need per cent are
killed; 2 if the list does not fit the sources or the unchanged tree fails.
"""
import argparse
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOMS_TO_TEST = {"vmx": ["vmx"], "apic": ["apic"], "cpu": ["cpu"], "models": ["models", "platform"],
                 "platform": ["platform"]}
NOT_COPIED = re.compile(r"^(\.git|build.*|out|\.cache)$")
MEMORY_LIMIT = 6 << 30  # a mutant may allocate for ever
WAITS = 10  # times its processor time a test may take while the machine does other things


class Mutant:
    def __init__(self, path, anchor, replacement, equivalent, line):
        self.path, self.anchor, self.replacement = path, anchor, replacement
        self.equivalent, self.line = equivalent, line
        self.result = "equivalent" if equivalent else ""
        self.by = ""

    @property
    def room(self):
        return self.path.split("/")[0]

    def __str__(self):
        return f"{self.path}: {self.anchor} ==> {self.replacement or '(dropped)'}"


def read_list(path):
    mutants, file = [], None
    with open(path, encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            text = line.strip()
            if not text or text.startswith("#"):
                continue
            if not line[0].isspace():
                file = text
                continue
            if file is None or " ==>" not in text:
                sys.exit(f"{path}:{number}: expected 'anchor ==> replacement' below the name of a file")
            text, _, note = text.partition(" ## ")
            if note and not note.startswith("equivalent: "):
                sys.exit(f"{path}:{number}: a note must begin with 'equivalent: '")
            anchor, _, replacement = text.partition(" ==>")
            mutants.append(Mutant(file, anchor.strip(), replacement.strip(), note[len("equivalent: "):], number))
    return mutants


def pattern_of(anchor):
    tokens = re.findall(r"\w+|\S", anchor)
    pattern = r"\s*".join(re.escape(t) for t in tokens)
    if re.match(r"\w", tokens[0]):
        pattern = r"(?<!\w)" + pattern
    if re.match(r"\w", tokens[-1]):
        pattern += r"(?!\w)"
    return re.compile(pattern)


def mutated(text, mutant):
    """The text with the mistake in it, or None and the number of places that match."""
    places = list(pattern_of(mutant.anchor).finditer(text))
    if len(places) != 1:
        return None, len(places)
    begin, end = places[0].span()
    return text[:begin] + mutant.replacement + text[end:], 1


def unmatched(mutants, source):
    bad = []
    for m in mutants:
        path = os.path.join(source, m.path)
        if not os.path.exists(path):
            bad.append((m, "no such file"))
            continue
        with open(path, encoding="utf-8") as f:
            _, places = mutated(f.read(), m)
        if places != 1:
            bad.append((m, f"the anchor occurs {places} times"))
    return bad


def synchronise(source, copy):
    """Copies what differs, so that a second run builds only what has changed."""
    wanted = set()
    for folder, folders, files in os.walk(source):
        relative = os.path.relpath(folder, source)
        if relative == ".":
            folders[:] = [d for d in folders if not NOT_COPIED.match(d)]
        for name in files:
            path = os.path.normpath(os.path.join(relative, name))
            wanted.add(path)
            to = os.path.join(copy, path)
            os.makedirs(os.path.dirname(to), exist_ok=True)
            with open(os.path.join(source, path), "rb") as f:
                content = f.read()
            if os.path.exists(to):
                with open(to, "rb") as f:
                    if f.read() == content:
                        continue
            with open(to, "wb") as f:
                f.write(content)
            shutil.copymode(os.path.join(source, path), to)
    for folder, folders, files in os.walk(copy):
        if folder == copy:
            folders[:] = [d for d in folders if not NOT_COPIED.match(d)]
        for name in files:
            path = os.path.relpath(os.path.join(folder, name), copy)
            if path not in wanted:
                os.remove(os.path.join(copy, path))


def processor_time():
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return children.ru_utime + children.ru_stime


class Tree:
    def __init__(self, options):
        self.jobs = options.jobs
        self.limits = {}
        self.copy = os.path.join(options.work, "tree")
        self.build = os.path.join(self.copy, "build")
        # A compiler cache then knows what has been compiled of the same tree elsewhere.
        os.environ.setdefault("CCACHE_BASEDIR", options.work)
        os.environ.setdefault("CCACHE_NOHASHDIR", "1")
        os.environ.setdefault("CCACHE_SLOPPINESS",
                              "pch_defines,time_macros,include_file_mtime,include_file_ctime")
        synchronise(options.source, self.copy)
        if not os.path.exists(os.path.join(self.build, "build.ninja")):
            subprocess.run(["cmake", "-S", self.copy, "-B", self.build, "-G", "Ninja", "-DCMAKE_BUILD_TYPE=Release",
                            "-DVMXSYS_INSTALL=OFF", *[o for o in options.cmake if o]],
                           check=True, stdout=subprocess.DEVNULL)

    def make(self, room):
        return subprocess.run(["cmake", "--build", self.build, "--target", f"vmxsys_{room}_test",
                               "-j", str(self.jobs)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT).returncode == 0

    def test(self, room):
        """'' if the tests pass, else why not."""
        seconds = self.limits.get(room)

        def limit():
            resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT, MEMORY_LIMIT))
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            if seconds:
                resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 5))
        command = [os.path.join(self.build, "tests", f"vmxsys_{room}_test"), "--gtest_brief=1", "--gtest_fail_fast"]
        try:
            run = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, preexec_fn=limit,
                                 timeout=seconds and WAITS * seconds, errors="replace",
                                 cwd=os.path.join(self.build, "tests"))
        except subprocess.TimeoutExpired:
            return f"{room}: time limit"
        if run.returncode == 0:
            return ""
        if run.returncode in (-signal.SIGXCPU, -signal.SIGKILL):
            return f"{room}: time limit"
        failed = re.search(r"^\[  FAILED  \] (\S+)", run.stdout, re.M)
        return f"{room}: " + (failed.group(1).rstrip(",") if failed else f"exit status {run.returncode}")

    def check_unchanged(self, rooms):
        for room in rooms:
            if not self.make(room):
                sys.exit(f"the unchanged tree does not build vmxsys_{room}_test")
            begin = processor_time()
            failure = self.test(room)
            if failure:
                print(f"the unchanged tree fails: {failure}")
                sys.exit(2)
            self.limits[room] = int(20 + 4 * (processor_time() - begin))
            print(f"unchanged: {room} passes; limit of processor time {self.limits[room]} s", flush=True)

    def run(self, mutant):
        path = os.path.join(self.copy, mutant.path)
        with open(path, encoding="utf-8") as f:
            original = f.read()
        changed, _ = mutated(original, mutant)
        try:
            with open(path, "w", encoding="utf-8") as f:
                f.write(changed)
            for room in ROOMS_TO_TEST[mutant.room]:
                if not self.make(room):
                    mutant.result = "not built"
                    return
                mutant.by = self.test(room)
                if mutant.by:
                    mutant.result = "killed"
                    return
            mutant.result = "survived"
        finally:
            with open(path, "w", encoding="utf-8") as f:
                f.write(original)


def chosen(mutants, options):
    some = [m for m in mutants if not m.equivalent and re.search(options.only, str(m))]
    if options.sample and options.sample < len(some):
        step = len(some) / options.sample
        some = [some[int(i * step + options.offset) % len(some)] for i in range(options.sample)]
    return some


def report(run, mutants):
    by_folder = {}
    for m in run:
        row = by_folder.setdefault(os.path.dirname(m.path), {"killed": 0, "survived": 0, "not built": 0})
        row[m.result] += 1
    print(f"\n{'folder':<28}{'killed':>8}{'survived':>10}{'not built':>11}")
    for folder, row in sorted(by_folder.items()):
        print(f"{folder:<28}{row['killed']:>8}{row['survived']:>10}{row['not built']:>11}")
    for what in ("survived", "not built"):
        for m in run:
            if m.result == what:
                print(f"{what}: line {m.line}: {m}")
    killed = sum(m.result == "killed" for m in run)
    counted = sum(m.result in ("killed", "survived") for m in run)
    equivalent = sum(bool(m.equivalent) for m in mutants)
    share = 100 * killed / counted if counted else 100
    print(f"{killed} of {counted} killed ({share:.1f} %); {len(mutants)} in the list, {equivalent} of them equivalent")
    return share


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", default=os.path.dirname(os.path.dirname(HERE)), help="the tree")
    parser.add_argument("--work", default="build/mutation", help="where the copy is built")
    parser.add_argument("--list", default=os.path.join(HERE, "mutants.txt"))
    parser.add_argument("--only", default="", help="a regular expression over '<file>: <anchor> ==> <replacement>'")
    parser.add_argument("--sample", type=int, default=0, help="so many, evenly spread; 0: all")
    parser.add_argument("--offset", type=int, default=0, help="which sample")
    parser.add_argument("--need", type=float, default=0, help="per cent that must be killed")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--cmake", action="append", default=[], help="a further argument for cmake")
    parser.add_argument("--check", action="store_true", help="only look for anchors that no longer match")
    options = parser.parse_args()
    options.source, options.work = os.path.abspath(options.source), os.path.abspath(options.work)

    mutants = read_list(options.list)
    bad = unmatched(mutants, options.source)
    for m, why in bad:
        print(f"{options.list}:{m.line}: {m.path}: {why}: {m.anchor}")
    if options.check:
        print(f"{len(mutants)} mutants, {len(bad)} whose anchor does not match")
        sys.exit(2 if bad else 0)
    lost = {m.line for m, _ in bad}
    run = [m for m in chosen(mutants, options) if m.line not in lost]
    if not run:
        sys.exit("no mutant to run")
    tree = Tree(options)
    tree.check_unchanged(sorted({room for m in run for room in ROOMS_TO_TEST[m.room]}))
    for number, m in enumerate(run, 1):
        begin = time.monotonic()
        tree.run(m)
        by = f" by {m.by}" if m.by else ""
        print(f"{number}/{len(run)} {m.result}{by}, {time.monotonic() - begin:.0f} s: {m}", flush=True)
    share = report(run, mutants)
    sys.exit(2 if bad else 1 if share < options.need else 0)


if __name__ == "__main__":
    main()
