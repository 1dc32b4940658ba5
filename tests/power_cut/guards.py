"""guards.py COMPILER [WORDS]: each guard of the storage, and of the client that uses it, is needed.

Takes one guard out of a copy of the headers at a time, and expects that a test of this folder then fails; as they are,
the tests pass. A guard that is no longer in the source in these words is an error: then this list has to be changed.
WORDS: only the guards whose description has these.
"""
import concurrent.futures
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
JOURNAL = "platform/journal.hpp"
FILES = "platform/file_store.hpp"
ENGINE = "mqtt.hpp"
TESTS = {JOURNAL: "journal", FILES: "files", ENGINE: "session"}
OPTIMIZATION = {"session": "-O0"}   # it compiles for longer than it runs; else -O1

# What is taken out, in which header, and how: every one of these texts, replaced by the one after it.
GUARDS = [
    ("the CRC of a record", JOURNAL, "if (crc == storage::get_u32(head + 4)) {", "if (true) {"),
    ("the CRC of a head", JOURNAL, "if (storage::get_u32(head + 12) != head_crc(head)) continue;",
     "if ((storage::get_u32(head + 4) & 0xFFFF) != 0x6D4A) continue;"),
    ("the check of a record's size", JOURNAL, "storage::get_frame_size(head, length) &&",
     "(void(storage::get_frame_size(head, length)), true) &&"),
    ("a record's head is programmed before the rest of it, alone", JOURNAL,
     "uint32_t piece = geometry().rounded(storage::frame_head);", "uint32_t piece = least(sizeof buffer_, total);"),
    ("a new generation's head is written last", JOURNAL,
     "if (state_ == compacting && index_ == 0) sector_is_open();", ""),
    ("the second copy of a head", JOURNAL, "for (uint32_t copy = 2; copy-- != 0;) {",
     "for (uint32_t copy = 1; copy-- != 0;) {"),
    ("the number of a generation is new", JOURNAL, "generation_ = ++newest_;", "newest_ = ++generation_;"),
    ("a sector is erased before it is used", JOURNAL, "const int result = flash.erase(sector());",
     "const int result = blank(sector(), 0) > 0 ? 1 : flash.erase(sector());"),
    ("after a reset, a new sector", JOURNAL, "if (all == 0) close_sector();", ""),
    ("a sector is resumed only if nothing but FF follows", JOURNAL,
     "geometry().resume && whole_ ? blank(sector(), at_) : 0;", "geometry().resume && whole_ ? 1 : 0;"),
    ("a sector is resumed only if both copies of its head are there", JOURNAL, "geometry().resume && whole_ ?",
     "geometry().resume ?"),
    ("a sector tells where the one before it ends", JOURNAL, "end_ = storage::get_u32(buffer_ + 8);", "end_ = geometry().sector_size;"),
    ("damage before a sector's end", JOURNAL, "if (!is_last()) return refuse(storage::corrupt);",
     "if (!is_last()) { at_ = end_; return 0; }"),
    ("damage in the last sector", JOURNAL, "if (after == 0) return refuse(storage::corrupt);", ""),
    ("a generation that has lost a sector", JOURNAL, "if (damaged) return refuse(storage::corrupt);", ""),
    ("somebody else's flash", JOURNAL, "if (result == 0) return refuse(storage::foreign);", ""),
    ("what is alive is not overwritten", JOURNAL, ": least(spare, unused))) return storage::full;",
     ": geometry().sector_count)) return storage::full;"),
    ("room for the next compaction", JOURNAL, "(state_ == appending ? geometry().sector_count - spare :",
     "(state_ == appending ? geometry().sector_count :"),

    ("the CRC of a record", FILES, "if (done == length && crc == storage::get_u32(head + 4)) {", "if (done == length) {"),
    ("the CRC of the log's head", FILES,
     "if (storage::get_u32(head + 12) != storage::crc32(0, head, 12)) return refuse(refused, storage::corrupt);", ""),
    ("somebody else's file", FILES, "|| memcmp(head, magic, 8) != 0) return", ") return"),
    ("the fsync of sync()", FILES,
     "if (!retried([&] { return disk.fdatasync(log_); })) return broken_by();   // what it did write nobody knows", ""),
    ("an fsync that failed is not repeated", FILES, "return broken_by();   // what", "return failure();   // what"),
    ("a new generation is another file", FILES, """log_ = open_file("log.new", O_RDWR""", """log_ = open_file("log", O_RDWR"""),
    ("a new generation is durable before it is renamed", FILES,
     """if (!retried([&] { return disk.fdatasync(log_); })) return broken_by();
        if (!retried([&] { return disk.renameat""", "if (!retried([&] { return disk.renameat"),
    ("the fsync of the folder", FILES, "if (!sync_folder(folder_)) return broken_by();", ""),
    ("what was loaded is durable", FILES, "if (!retried([&] { return disk.fdatasync(log_); }) || !sync_folder(folder_))",
     "if (!sync_folder(folder_))"),
    ("the folder that was loaded from is durable", FILES, "fdatasync(log_); }) || !sync_folder(folder_))", "fdatasync(log_); }))"),
    ("what is cut off is truncated", FILES, "if (ragged_) {   // else", "if (false) {   // else"),
    ("what is truncated is so durably", FILES,
     "ftruncate(log_, end_); }) || !retried([&] { return disk.fdatasync(log_); }))", "ftruncate(log_, end_); }))"),
    ("damage before a mark", FILES, "if (found > 0) return refuse(refused, storage::corrupt);", ""),
    ("the lock", FILES, "if (!retried([&] { return disk.flock(fd); })) {", "if (false) {"),

    ("nothing goes out before its record is durable", ENGINE,
     "if (at_[durable] < limit) limit = at_[durable] > at_[sent] ? at_[durable] : at_[sent];", ";"),
    ("a sync before sending", ENGINE,
     "log().unsynced = log().unsynced || log().note_size == 0 || log().note[0] != Note::finished;", ""),
    ("the record of a message", ENGINE, "!(exchange || is_message(first))) continue;", "!exchange) continue;"),
    ("the record of PUBREL", ENGINE, "const bool exchange = first >> 4 == 6 || first", "const bool exchange = first"),
    ("the record of a received message before PUBREC", ENGINE, "|| first >> 4 == 5 || first >> 4 == 7;", "|| first >> 4 == 7;"),
    ("the record of its end before PUBCOMP", ENGINE, "|| first >> 4 == 5 || first >> 4 == 7;", "|| first >> 4 == 5;"),
    ("the record of what is finished", ENGINE, "} else if (outbox_.finished() != 0) {", "} else if (false) {"),
    ("the record of another session", ENGINE, "log().session_due = log().session_due || log().inbox_cleared || session != session_;",
     ""),
    ("it is durable before CONNECT, and what follows CONNACK", ENGINE, "return log().barrier || log().session_due || !said;",
     "return !said;"),
    ("what may have been sent is recorded before it is", ENGINE, "return log().barrier || log().session_due || !said;",
     "return log().barrier || log().session_due;"),
    ("DUP after a reset", ENGINE, "if (may_be_sent) packet[0] |= sent_before;", ""),
    ("a new log has the messages", ENGINE, "if (!outbox_.untaken().empty()) return;", ""),
    ("a new log has what was received", ENGINE, "if (log().inbox_at < inbox_.answered_count()) {", "if (false) {"),
    ("another client's session", ENGINE,
     "if (is_others(identity, options) && !options.replace_session) return Error::other_session;", ""),
]


def run(*command, **options):
    return subprocess.run([str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          errors="replace", **options)


def compiled(compiler, root, source, out, *options):
    done = run(compiler, "-std=c++17", "-I", root, "-include", ROOT / "tests/support/assert.hpp", *options, source, "-o", out)
    return done.stdout if done.returncode != 0 else None


class Check:
    def __init__(self, compiler, folder):
        self.compiler, self.folder = compiler, folder
        self.main = folder / "main.o"
        error = compiled(compiler, ROOT, ROOT / "tests/support/main.cpp", self.main, "-c")
        if error:
            sys.exit(error)

    def passes(self, name, test, header=None, text=None):
        """Does this test pass, with the header as in `text`? Also why not."""
        folder = self.folder / name
        for part in ("platform", "tests/support", "tests/power_cut"):
            shutil.copytree(ROOT / part, folder / part)
        shutil.copy(ROOT / ENGINE, folder)
        if header:
            (folder / header).write_text(text)
        program = folder / test
        error = compiled(self.compiler, folder, folder / f"tests/power_cut/{test}.cpp", program, OPTIMIZATION.get(test, "-O1"), "-w", "-pthread",
                         self.main)
        if error:
            sys.exit(f"{name}: does not compile\n{error}")
        try:
            done = run(program, "--abort-after=1", timeout=120, env={**os.environ, "MQTT_TEST_QUICK": "1"})
        except subprocess.TimeoutExpired:
            return False, "it never ends"
        return done.returncode == 0, done.stdout[-3000:]

    def guard(self, number):
        what, header, old, new = GUARDS[number]
        text = (ROOT / header).read_text()
        if text.count(old) != 1:
            return f"{what}: '{old}' stands {text.count(old)} times in {header}"
        passes, _ = self.passes(f"guard{number}", TESTS[header], header, text.replace(old, new))
        return f"without this guard all tests pass: {what}" if passes else None


def main():
    wanted = " ".join(sys.argv[2:])
    with tempfile.TemporaryDirectory() as folder, concurrent.futures.ThreadPoolExecutor(2) as pool:
        check = Check(sys.argv[1], pathlib.Path(folder))
        whole = [pool.submit(check.passes, test, test) for test in sorted({TESTS[g[1]] for g in GUARDS})]
        guards = [pool.submit(check.guard, i) for i in range(len(GUARDS)) if wanted in GUARDS[i][0]]
        failed = 0
        for result in whole:
            passes, output = result.result()
            if not passes:
                print(f"with all guards in place, a test fails:\n{output}")
                failed = 1
        for result in guards:
            if result.result():
                print(result.result())
                failed = 1
        print(f"{len(guards)} guards taken out, one at a time")
        return failed


sys.exit(main())
