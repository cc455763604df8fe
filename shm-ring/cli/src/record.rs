//! Record: a ring into a log, until somebody says that it is enough.
//!
//! ```text
//!   open the log, attach to the ring --> step, step, ... --> a signal --> what is there now --> let go
//!                                         |disk full: records wait in the ring, and it tries again
//! ```
//!
//! (I1) nothing is written to stdout; (I2) a signal ends it between two batches, and the ring keeps what is not in the log.

use crate::args::{Record, SyncWhen};
use crate::failure::{Code, Failure};
use crate::output::Messages;
use crate::progress::Progress;
use crate::size::{show_count, show_size};
use crate::stop::Stop;
use shm_ring::{
    Durability, Error, Log, LogError, LogOptions, PollError, RecordError, Recorder, RingOptions, Wait,
};
use std::io;
use std::time::{Duration, Instant};

/// How often signals are looked for.
const STEP: Duration = Duration::from_millis(100);
/// How long a full disk is left alone.
const FULL_PAUSE: Duration = Duration::from_millis(200);
/// How often the progress says something new.
const NEWS_EVERY: Duration = Duration::from_millis(250);

/// Runs the command.
pub(crate) fn run(args: &Record, messages: Messages) -> Result<(), Failure> {
    let stop = Stop::watch(|| std::process::exit(0))?;
    let ring = RingOptions::new().wait(Wait::Block).open(&args.ring)?;
    let log = options_of(args)?.open_or_create(&args.log)?;
    let lost_bytes = log.recovery().lost_bytes;
    if lost_bytes > 0 {
        let bytes = show_count(lost_bytes, "byte", "bytes");
        messages.note(&format!("{:?}: {bytes} of its end never reached the medium, and are gone", args.log));
    }
    let recorder = Recorder::open(&ring, &args.name, log)?;
    let progress = Progress::of_time(format!("{:?}", args.log), messages);
    let mut work = Work { args, recorder, stop, messages, progress, news: Instant::now(), is_full: false };
    let ended = work.run();
    let stats = work.recorder.stats();
    drop(work);
    messages.detail(&format!(
        "{:?}: {} recorded, {} of payload, {}, in {}",
        args.log,
        show_count(stats.records, "record", "records"),
        show_size(stats.bytes),
        show_count(stats.gaps, "gap", "gaps"),
        show_count(stats.batches, "batch", "batches")
    ));
    ended
}

fn options_of(args: &Record) -> Result<LogOptions, Failure> {
    let mut options = LogOptions::new().durability(match args.sync {
        SyncWhen::None => Durability::Process,
        SyncWhen::Each => Durability::EachRecord,
        SyncWhen::Interval(interval) => Durability::Interval(interval),
    });
    // A log goes on with segments of the size that it has.
    let segment_bytes = match args.segment {
        Some(bytes) => Some(bytes),
        None => match Log::inspect(&args.log) {
            Err(Error::NotFound { .. }) => None,
            stats => stats?.segments.last().map(|newest| newest.data_bytes),
        },
    };
    if let Some(bytes) = segment_bytes {
        options = options.segment_bytes(bytes);
    }
    if let Some(bytes) = args.keep {
        options = options.keep_bytes(bytes);
    }
    if let Some(age) = args.keep_for {
        options = options.keep_for(age);
    }
    Ok(options)
}

/// Whether it works again when there is room.
fn is_for_room(error: LogError) -> bool {
    match error {
        LogError::NoSpace { .. } => true,
        LogError::System { errno, .. } => {
            let kind = io::Error::from_raw_os_error(errno).kind();
            matches!(kind, io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
        }
        _ => false,
    }
}

struct Work<'a> {
    args: &'a Record,
    recorder: Recorder,
    stop: Stop,
    messages: Messages,
    progress: Progress,
    news: Instant,
    is_full: bool,
}

impl Work<'_> {
    fn run(&mut self) -> Result<(), Failure> {
        while !self.args.drain && !self.stop.is_asked() {
            match self.recorder.step(STEP) {
                Ok(_) => self.is_full = false,
                Err(RecordError::Ring(PollError::Closed)) => return Ok(()),
                Err(RecordError::Log(error)) if is_for_room(error) => self.wait_for_room(error),
                Err(error) => return Err(self.failed(error)),
            }
            self.tell();
        }
        // What is there now; with a full disk it stays in the ring.
        match self.recorder.drain() {
            Err(RecordError::Log(error)) if is_for_room(error) && !self.args.drain => Ok(()),
            drained => drained.map(|_| ()).map_err(|error| self.failed(error)),
        }
    }

    fn wait_for_room(&mut self, error: LogError) {
        if !self.is_full {
            let what = "records wait in the ring, and recording goes on when there is room";
            self.messages.note(&format!("{:?}: {error}; {what}", self.args.log));
            self.is_full = true;
        }
        std::thread::sleep(FULL_PAUSE);
    }

    fn tell(&mut self) {
        if self.news.elapsed() < NEWS_EVERY {
            return;
        }
        self.news = Instant::now();
        let records = show_count(self.recorder.stats().records, "record", "records");
        let behind = self.recorder.lag_bytes();
        self.progress.say(format!("{:?}: {records}, {behind} bytes behind", self.args.log));
    }

    fn failed(&self, error: RecordError) -> Failure {
        match error {
            RecordError::Ring(error) => Failure::poll(&self.args.ring, error),
            RecordError::Log(error) => Failure::log(&self.args.log, error),
            error => Failure::new(Code::Runtime, format!("{:?}: {error}", self.args.ring)),
        }
    }
}
