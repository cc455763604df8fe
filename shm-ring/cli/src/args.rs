//! Args: the command line, and with it the help.
//!
//! (I1) what clap accepts is meaningful: conflicts and needs between flags are stated here, and refused with exit code 2.
//! Describes; performs nothing.

mod logs;
mod replay;
mod shown;

use crate::size::{
    CpuList, parse_cpus, parse_duration, parse_level, parse_mode, parse_rate, parse_seconds, parse_size,
};
use clap::{Parser, Subcommand, ValueEnum};
pub(crate) use logs::{Cursor, CursorAction, Gc, Record, SyncWhen, Verify};
use regex::bytes::Regex;
pub(crate) use replay::{Compact, Merge, Opening, Replay};
use serde::{Deserialize, Serialize};
pub(crate) use shown::Shown;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

const EXIT_CODES: &str = "\
Exit codes: 0 ok, 1 failed, 2 usage, 3 no such ring, log or file, 4 not a ring (or another kind of file), corrupt (verify: damaged) or of another \
version, 5 full (push --when-full fail; record --drain: the disk), 6 records were lost (tail, cat --fail-on-loss; bench: or damaged), 7 timeout (tail --count with --idle; bench), 9 the dead \
left something to repair (doctor, repair), 10 somebody is in the way from whom nothing is taken (doctor, repair). exec passes its \
command's code on.";

const BENCH_EXAMPLES: &str = "\
Examples:
  shm-ring bench                                        round trips of 64 bytes, one producer
  shm-ring bench --workload stream --batch 32           as many records as go through
  shm-ring bench --workload stream --rate 100k --html out.html
                                                        latency under a steady load, as a page
  shm-ring bench --workload fanin --producers 4 --rate 50k --wait block --seconds 10";

/// Create, fill, follow and inspect shared-memory rings; record them into logs; inspect and finish mapped files.
#[derive(Debug, Parser)]
#[command(name = "shm-ring", version, about, after_help = EXIT_CODES)]
pub(crate) struct Args {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
    /// When to use colour.
    #[arg(long, global = true, value_enum, default_value_t = Color::Auto, value_name = "WHEN")]
    pub(crate) color: Color,
    /// Say nothing on stderr but errors.
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
    /// Say more on stderr.
    #[arg(short, long, global = true, conflicts_with = "quiet")]
    pub(crate) verbose: bool,
}

/// When to use colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    /// On terminals, unless NO_COLOR is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a new ring.
    Create(Create),
    /// Put lines (or length-prefixed records) from stdin into a ring.
    ///
    /// Lines are split at newlines and nowhere else; a carriage return stays. Whatever one read returns is committed before the next.
    ///
    /// A line that is too long for the ring becomes several records, all but the last marked as partial; so is a last line without its end.
    /// In a ring without metadata, records are written as with --raw. Ctrl-C ends it after what was read is committed.
    Push(Push),
    /// Run a command; every line of its stdout and stderr becomes a record.
    ///
    /// Records carry the command's pid, its stream and a tag; its stdin is ours. SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1 and SIGUSR2 are
    /// passed on (a terminal's Ctrl-C reaches the command anyway and is not doubled).
    ///
    /// Ends with the command's exit code, when its pipes are at their end: 126 or 127 if it could not be run, 128 + N if signal N killed it.
    /// Processes that the command leaves behind may hold the pipes open: then it ends as soon as nothing came for 500 ms.
    Exec(Exec),
    /// Put a ring's records into a log, each once.
    ///
    /// Runs until a signal ends it. Reads under a name for which the ring's producers wait, also while nobody records; a record's space is
    /// given back when the log has it. Killed and started again, it goes on where the log ends. Time, sequence, level, kind and producer are
    /// kept; what the ring lost is told in the log, in its place.
    ///
    /// While the disk is full, records wait in the ring, and it goes on when there is room. Says nothing on stdout.
    Record(Record),
    /// Show records of a ring or a log: the last ones, all, or as they come.
    ///
    /// Of a log's directory: reads it only, needs no right to write it, and disturbs nobody; -f goes on over its segments. With --cursor NAME,
    /// goes on where that name stopped, and saves how far it came; that is on the medium when it ends. A log that was removed in front of the
    /// cursor is a loss.
    ///
    /// Without -f, ends after what is there. Watches without disturbing anybody, and is told what it missed if it is too slow; with
    /// --consumer NAME, producers wait for it instead, and a record is released when it has been written.
    ///
    /// With --group NAME, processes share the records: each gets others, and what one had not written when it died goes to another.
    ///
    /// JSON keys: position, timestamp_ns, producer, sequence, kind, level, pid, tid, stream, tag, and message, or message_base64 when it is
    /// not UTF-8; with --group also redelivered, true when a member that died may have written it already. What a record does not have
    /// is null.
    ///
    /// With --losses, what is missing is told where it is missing. JSON keys: event (loss), cause, position (where reading goes on),
    /// producer, records, claims and bytes; null is unknown. Causes: dropped (the ring was full: producer, records), died (in the middle of
    /// claims: producer, claims), lapped (overwritten before it was read: first bytes, then records of each producer as they become known),
    /// away (overwritten while nobody read under the name: bytes). Of a log also: restarted (what the ring held when the machine was restarted,
    /// or it was made anew), retired (removed before it was read: bytes), power_cut (never on the medium: bytes), damaged (bytes).
    Tail(Tail),
    /// Show a ring's tables: positions, producers, consumers; or what a log, an append file or a ranged file has.
    ///
    /// Reads the file only: takes no slot, disturbs nobody, and needs no right to write.
    ///
    /// JSON keys of the latter two: path, kind (append, ranged), uuid, layout_version, permissions, created_ns, file_bytes, data_bytes (append:
    /// published; ranged: the size), capacity_bytes, usage_ratio (append: of the capacity; ranged: written of the size), durable_bytes,
    /// doubtful_bytes (written before a restart of the machine and never synced), writer (somebody has it open for writing), writer_pid,
    /// sealed, data_crc; pinned (append: somebody reads in place); alignment, next_position, handed_out_bytes (and not written),
    /// written_bytes, missing_bytes, free_bytes, sync_failed (ranged). What does not apply is null.
    ///
    /// JSON keys of a log: path, kind (log), uuid, created_ns, oldest_position, end_position, durable_position, data_bytes, records (of sealed
    /// segments), prepared (segments), appending (somebody has it open for that), appender_pid, suspect, segments (number, state, base, end,
    /// data_bytes, records, first_ns, last_ns, suspect, hole_bytes) and cursors (as `cursor list` has them).
    Stat(Stat),
    /// Explain a ring's state: who holds what, who is in whose way, and what to do; or a log's, an append file's or a ranged file's.
    ///
    /// The first line is the verdict: healthy; repairable, when the dead left something; blocked, when somebody is in the way from whom
    /// nothing is taken: somebody alive, or a durable name. Then a line per finding, the most important one first. Reads the file only:
    /// takes no slot, changes nothing, and works on files of others. Looks twice if something is wrong, so that what is merely in
    /// progress is not reported.
    ///
    /// Ends with code 0 if healthy, 9 if repairable, 10 if blocked, whatever else there is; 3 and 4 if there is no ring to look at.
    ///
    /// JSON keys: path, verdict (healthy, repairable, blocked, missing, unusable, unreadable), repairable, blocked and findings. Each
    /// finding has kind, severity (blocked, repairable, note, fatal), message and advice, and what applies of slot, name, pid, pid_here, process,
    /// state, position, bytes, percent, age_min_ms, age_max_ms, waiting, records, claims, epoch, taken and slots.
    ///
    /// Of an append file or a ranged file it says what the dead left, what a power cut would take, what a restart of the machine has put in
    /// doubt, and who has it open. It reads all bytes of a sealed one, and compares their checksum: if that is wrong, the code is 4.
    ///
    /// Of a log it says who appends, how much there is, what is suspect or set aside, and how far its cursors are behind; it does not read the
    /// records: that is `verify`.
    Doctor(Doctor),
    /// Repair what the dead left in a ring, or what is damaged in a log, and say what was done.
    ///
    /// Of a log: marks what does not check as a hole, which readers are told of, after copying its bytes to a file beside it; makes a lost
    /// manifest anew from the segments. Deletes nothing, truncates nothing, and needs that nobody appends. With --dry-run, says what it would do.
    /// JSON keys of a log: path, dry_run, repaired, and mended (segment, or 0 of the manifest, position, bytes that are gone, what, how: marked,
    /// remade, manifest_remade or dropped, aside: the file that has what was there).
    ///
    /// Nobody needs to run it: whoever attaches or is held up does the same. Takes nothing from the living: if somebody alive, or a durable
    /// name, is still in the way, says so as doctor does and ends with code 10. Refuses files that others can write, as push does.
    ///
    /// JSON keys: path, repaired, producers, claims, bytes, consumers, members, groups (how many were repaired), epoch (the new one, or
    /// null), then verdict, repairable, blocked and findings as doctor has them, of what is left.
    Repair(Repair),
    /// Read all of a log, and compare every checksum.
    ///
    /// Ends with code 4 if anything is damaged. What a power cut took, what is missing and a torn end are told, and are no damage. Changes
    /// nothing, and works beside an appender.
    ///
    /// JSON keys: path, clean, segments, records, gaps, bytes (of payload), first_position, end_position, holes, hole_bytes (damage that is
    /// marked), torn_bytes, lost_bytes, n_damaged, and damaged (segment, or 0 of the manifest, position, bytes, what), 10,000 at most.
    Verify(Verify),
    /// Remove a log's oldest segments, for as long as so much is left, or those that are so old.
    ///
    /// Whole segments, by removing their files: who reads one keeps it. The one that is appended to stays. Needs that nobody appends, for whom
    /// `record --keep` does the same. JSON keys: path, dry_run, segments, bytes, oldest_position.
    Gc(Gc),
    /// List, set or remove a log's cursors: names with a place, from which `tail --cursor` goes on.
    Cursor(Cursor),
    /// Write the bytes of an append file or a ranged file to stdout, as they are; or all records of a log.
    ///
    /// Of a log: every record that is there when it begins, or those from --from on and before --to, shown as `tail` shows them.
    ///
    /// Of an append file what is published when it begins; of a sealed file everything, after its checksum was compared. A ranged file of
    /// which not everything is written is refused; with --partial, zeros stand where nothing is written, so that every byte is at its place,
    /// and stderr says how many they are. Changes nothing, and works on files of others.
    Cat(Cat),
    /// Show the records of many rings, logs, segments and tables as one stream, ordered by time.
    ///
    /// Records of one time come in the order of their sources, as given, or by name within a directory; those of one source as they are in it.
    /// Without -f, ends after what is there. With -f, goes on with what comes to rings and logs, each record when no older one can come any
    /// more: --lateness after its time, or as soon as all sources have a newer one. Watches without disturbing anybody.
    ///
    /// A source that can't be opened or read on is named on stderr, and the others go on; in the end the code is that of the first such failure.
    /// What is missing in a source is told on stderr, in sums, when it ends.
    ///
    /// JSON keys: source, then those of tail but sequence; position is the row in a table. A row of a table has the key row instead of a
    /// message, an object with its columns but the time.
    Merge(Merge),
    /// Replay many rings, logs, segments and tables as one stream, ordered by time: as it was recorded, or at another speed.
    ///
    /// Each record is shown, or put into a ring with --into, when it is due: by its distance in time from the first one, divided by the speed.
    /// Order, failures and JSON keys are those of merge. In the ring, records keep their time, level and kind, and those of one producer of one
    /// source come from one producer there, while it has slots; a reader can't tell them from live ones. A row of a table becomes a JSON object.
    ///
    /// On a terminal, keys steer it: space pauses and goes on; right and left go 10 s of recorded time ahead and back, with shift 1 min; + and -
    /// double and halve the speed; . or n shows one record, and holds; q ends it.
    Replay(Replay),
    /// Write many rings, logs, segments and tables into one log, ordered by time: merge once, replay many times.
    ///
    /// The log has the records' times, levels, kinds and producers; which source they come from is not kept, and a row of a table becomes a
    /// JSON object. It is made as DST.unfinished, read again in full with every checksum, counted, brought to the medium, and renamed:
    /// under its name it is complete, or not there. What a killed run leaves is DST.unfinished, to be removed by hand. A source that fails
    /// ends it, and leaves nothing.
    Compact(Compact),
    /// Finish an append file or a ranged file: its bytes get a checksum, and nobody writes it any more.
    ///
    /// Of a ranged file, every byte has to be written. Fails while somebody else has the file open for writing.
    Seal(Seal),
    /// Make an append file of a legacy one, which begins with 0xdeadbeef and a length of 32 bits.
    ///
    /// The legacy file is only read. The new one is on the medium when this ends.
    Import(Import),
    /// Measure rings between processes on this machine, next to what the machine itself can do.
    ///
    /// Starts a process per producer and per consumer, each on a CPU of its own where there are enough, over a new ring in memory that is
    /// gone afterwards. Each record is written and read in full, and checked: its place in its producer's sequence, and at the end a
    /// checksum over all bytes. If anything differs, there are no figures, and the code is 6.
    ///
    /// pingpong: a record there through one ring and back through another; the latency is that of the round trip. stream: one producer, one
    /// consumer. fanout: one producer, and every consumer gets everything. fanin: many producers, one consumer. There the latency is one-way,
    /// from sending until the record has been read.
    ///
    /// With --rate, each record has a time at which it is meant to be sent, and its latency counts from there, whether the producer was able
    /// to send it then or not: a stop anywhere shows, in all the records that it delayed. Without it, records are sent as fast as they go;
    /// then the ring is full most of the time, and the latency (of every 32nd record or so) is the time spent in that queue.
    ///
    /// The floor is measured before and after, between the same two CPUs: the round trip of a bare cache line, and bytes copied through
    /// shared memory by two processes that do nothing else. Ratios are to the mean of both. When they differ by more than 1.3 times, the
    /// processors were moved or busy meanwhile, which is said, as is everything else that limits what the figures mean.
    ///
    /// JSON keys: version, workload, size_bytes, producers, consumers, mode, wait, rate_per_second, seconds, warm_up_seconds, batch,
    /// capacity_bytes, metadata; machine (processor, cpus, kernel, pinned); floor (line_before_ns, line_after_ns, line_ns, line_p50_ns,
    /// copy_before_bytes_per_second, copy_after_bytes_per_second, copy_bytes_per_second, moved); records (sent in the measured time),
    /// unsent (those for which a paced run had no time), records_per_second and bytes_per_second (what the slowest consumer got); latency
    /// (kind: round_trip, one_way or queue; count, mean_ns, min_ns, p50_ns, p90_ns, p99_ns, p99_9_ns, p99_99_ns, max_ns); latency_to_floor
    /// and throughput_to_floor, null where there is no such floor; interval_ns and intervals (records, latency_max_ns);
    /// producer_processes and consumer_processes (pid, cpu, records, records_per_second, cpu_ns, queued_ns: it could have run, and others
    /// had its CPU; and latency, for those who measured it); notes.
    #[command(after_help = BENCH_EXAMPLES)]
    Bench(Bench),
    /// Print a completion script for a shell.
    Completions {
        /// For which shell.
        shell: clap_complete::Shell,
    },
}

#[derive(Debug, clap::Args)]
pub(crate) struct Create {
    /// The file to make; it must not exist.
    #[arg(env = "SHM_RING")]
    pub(crate) ring: PathBuf,
    /// Bytes of data, rounded up to a power of two. The longest record is a quarter of it.
    #[arg(long, value_name = "SIZE", value_parser = parse_size, default_value = "16MiB")]
    pub(crate) capacity: u64,
    /// One producer at a time: the fastest mode.
    #[arg(long)]
    pub(crate) single_producer: bool,
    /// How many producers can be attached at once.
    #[arg(long, value_name = "N", default_value_t = 64)]
    pub(crate) producers: u16,
    /// How many consumer names the ring knows at once.
    #[arg(long, value_name = "N", default_value_t = 64)]
    pub(crate) consumers: u16,
    /// Records without time, sequence, level and kind: 16 bytes less each.
    #[arg(long)]
    pub(crate) no_metadata: bool,
    /// Permission bits of the file, octal, whatever the umask.
    #[arg(long, value_name = "BITS", value_parser = parse_mode, default_value = "0600")]
    pub(crate) mode: u32,
}

/// Where records go, and what is written in front of them.
#[derive(Debug, clap::Args)]
pub(crate) struct Target {
    /// The ring; made when it is missing.
    #[arg(env = "SHM_RING")]
    pub(crate) ring: PathBuf,
    /// Capacity of the ring if it has to be made.
    #[arg(long, value_name = "SIZE", value_parser = parse_size, default_value = "16MiB")]
    pub(crate) capacity: u64,
    /// A short name for the source.
    #[arg(long)]
    pub(crate) tag: Option<String>,
    /// Severity as in syslog: a name, or 0 to 7.
    #[arg(long, value_parser = parse_level)]
    pub(crate) level: Option<u8>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Push {
    #[command(flatten)]
    pub(crate) target: Target,
    /// Records on stdin are a length (u32, little-endian) and so many bytes.
    #[arg(long)]
    pub(crate) framed: bool,
    /// Write the bytes alone, without pid, stream and tag.
    #[arg(long, conflicts_with = "tag")]
    pub(crate) raw: bool,
    /// When the ring is full: wait for its readers; drop records, and tell readers how many; or fail with code 5.
    #[arg(long, value_enum, default_value_t = WhenFull::Wait, value_name = "WHAT")]
    pub(crate) when_full: WhenFull,
    /// The same as --when-full fail.
    #[arg(long, conflicts_with = "when_full")]
    pub(crate) no_wait: bool,
}

/// What happens to records for which there is no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum WhenFull {
    /// They wait.
    Wait,
    /// They are dropped and counted, and readers are told.
    Drop,
    /// They end the command with code 5.
    Fail,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Exec {
    #[command(flatten)]
    pub(crate) target: Target,
    /// Write the command's output to our stdout and stderr, too.
    #[arg(long)]
    pub(crate) tee: bool,
    /// When the ring is full, drop records and tell readers how many, rather than hold the command back.
    #[arg(long)]
    pub(crate) drop: bool,
    /// The command and its arguments.
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub(crate) command: Vec<OsString>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Tail {
    /// The ring, or a log's directory.
    #[arg(env = "SHM_RING")]
    pub(crate) ring: PathBuf,
    /// Go on with what comes.
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// Begin with the last LAST records (that match) [default: 10].
    #[arg(short = 'n', long = "lines", value_name = "LAST")]
    pub(crate) last: Option<usize>,
    /// Begin with the oldest record that is still there.
    #[arg(long, conflicts_with = "last")]
    pub(crate) oldest: bool,
    /// Begin with the first record since then: RFC 3339, or so long ago, as in 5m.
    #[arg(long, value_name = "TIME", conflicts_with_all = ["last", "oldest"])]
    pub(crate) since: Option<String>,
    #[command(flatten)]
    pub(crate) shown: Shown,
    /// Read reliably under this name. A new name begins as the flags say, a known one goes on where it stopped.
    #[arg(long, value_name = "NAME", group = "reader")]
    pub(crate) consumer: Option<String>,
    /// Read as a member of this group: each record goes to one member, and is released when it has been written.
    #[arg(long, value_name = "NAME", group = "reader")]
    pub(crate) group: Option<String>,
    /// Of a log: go on where this name stopped, and save how far it came. A new name begins as the flags say.
    #[arg(long, value_name = "NAME", conflicts_with_all = ["consumer", "group"])]
    pub(crate) cursor: Option<String>,
    /// The name holds its place also while nobody reads under it.
    #[arg(long, requires = "reader")]
    pub(crate) durable: bool,
    /// Say in place whose and how many records are missing; with -o raw, on stderr.
    #[arg(long)]
    pub(crate) losses: bool,
    /// When records were lost or dropped, end with code 6.
    #[arg(long)]
    pub(crate) fail_on_loss: bool,
}

/// How records are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// A line for people.
    Short,
    /// An object a line.
    Json,
    /// The message alone.
    Raw,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Doctor {
    /// The ring, log, append file or ranged file.
    #[arg(env = "SHM_RING")]
    pub(crate) ring: PathBuf,
    /// One JSON object.
    #[arg(long)]
    pub(crate) json: bool,
    /// How long something has to stand still to be reported.
    #[arg(long = "for", value_name = "DURATION", value_parser = parse_duration, default_value = "200ms")]
    pub(crate) patience: Duration,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Repair {
    /// The ring, or a log's directory.
    #[arg(env = "SHM_RING")]
    pub(crate) ring: PathBuf,
    /// Of a log: say what would be done, and do nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// One JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Cat {
    /// The append file or ranged file, open or sealed; or a log's directory.
    pub(crate) file: PathBuf,
    /// Of a log: begin with the first record since then: RFC 3339, or so long ago, as in 5m.
    #[arg(long, value_name = "TIME")]
    pub(crate) from: Option<String>,
    /// Of a log: leave out records from then on.
    #[arg(long, value_name = "TIME")]
    pub(crate) to: Option<String>,
    /// Of a log: as `tail` has it [default: short].
    #[arg(short, long, value_enum)]
    pub(crate) output: Option<Format>,
    /// Of a log: only records whose message matches.
    #[arg(short, long, value_name = "REGEX", value_parser = Regex::new)]
    pub(crate) grep: Option<Regex>,
    /// Of a log: say in place what is missing; with -o raw, on stderr.
    #[arg(long)]
    pub(crate) losses: bool,
    /// Of a log: when records are missing, end with code 6.
    #[arg(long)]
    pub(crate) fail_on_loss: bool,
    /// Show zeros for bytes of a ranged file that are not written, rather than to refuse it.
    #[arg(long)]
    pub(crate) partial: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Seal {
    /// The append file or ranged file.
    pub(crate) file: PathBuf,
    /// What to do with bytes of an append file that were written before the machine was restarted, and never synced.
    #[arg(long, value_enum, value_name = "WHAT")]
    pub(crate) doubtful: Option<Doubtful>,
}

/// What to do with bytes that may be others than were written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Doubtful {
    /// Take them as they are.
    Keep,
    /// Seal the file without them, and what follows them.
    Drop,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Import {
    /// The legacy file.
    pub(crate) legacy: PathBuf,
    /// The file to make; it must not exist.
    pub(crate) file: PathBuf,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Stat {
    /// The ring, log, append file or ranged file.
    #[arg(env = "SHM_RING")]
    pub(crate) ring: PathBuf,
    /// One JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Bench {
    /// Who sends to whom.
    #[arg(long, value_enum, default_value_t = Workload::Pingpong, value_name = "WHAT")]
    pub(crate) workload: Workload,
    /// Bytes of each record, 16 at least.
    #[arg(long, value_name = "BYTES", value_parser = parse_size, default_value = "64")]
    pub(crate) size: u64,
    /// Processes that send [default: 1; fanin: 2].
    #[arg(long, value_name = "N")]
    pub(crate) producers: Option<u16>,
    /// Processes that receive [default: 1; fanout: 2].
    #[arg(long, value_name = "N")]
    pub(crate) consumers: Option<u16>,
    /// How producers claim space [default: exclusive; fanin: shared].
    #[arg(long, value_enum, value_name = "HOW")]
    pub(crate) mode: Option<Mode>,
    /// How both sides wait for each other.
    #[arg(long, value_enum, default_value_t = Waiting::Adaptive, value_name = "HOW")]
    pub(crate) wait: Waiting,
    /// Records per second of each producer, as in 5000, 100k or 1M [default: as many as go through].
    #[arg(long, value_name = "RATE", value_parser = parse_rate)]
    pub(crate) rate: Option<u64>,
    /// How long to measure; a warm-up of a quarter of that, at most half a second, comes before it.
    #[arg(long, value_name = "S", value_parser = parse_seconds, default_value = "2")]
    pub(crate) seconds: Duration,
    /// Records with time, sequence, level and kind.
    #[arg(long)]
    pub(crate) metadata: bool,
    /// Records to a claim, at most; with --rate, those that are due.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) batch: u16,
    /// Bytes that a ring holds, rounded up to a power of two.
    #[arg(long, value_name = "SIZE", value_parser = parse_size, default_value = "4MiB")]
    pub(crate) capacity: u64,
    /// CPUs for the processes, producers first, as in 0,2 or 0-3 [default: all that are allowed, one of each core
    /// first]. Where they are fewer than the processes, all may run on all of them.
    #[arg(long, value_name = "LIST", value_parser = parse_cpus)]
    pub(crate) cpus: Option<CpuList>,
    /// One JSON object.
    #[arg(long)]
    pub(crate) json: bool,
    /// Write the percentiles in HdrHistogram's text format, values in microseconds.
    #[arg(long, value_name = "FILE")]
    pub(crate) hgrm: Option<PathBuf>,
    /// Write everything as one page with plots.
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
}

/// Who sends to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Workload {
    /// A record there and one back, one at a time.
    Pingpong,
    /// One producer, one consumer.
    Stream,
    /// One producer, consumers that get everything.
    Fanout,
    /// Many producers, one consumer.
    Fanin,
}

/// How producers claim space.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Mode {
    /// One producer, without an atomic read-modify-write.
    Exclusive,
    /// Any number of producers.
    Shared,
}

/// How the sides wait for each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Waiting {
    /// Look without pause.
    Spin,
    /// Give the processor away between looks.
    Yield,
    /// Spin for longer than a wake-up takes, then sleep.
    Adaptive,
    /// Sleep at once.
    Block,
}
