//! Aeron 1.54 (C client and media driver, rusteron 0.2.16): `aeron:ipc`, term buffers that a driver's process looks after.
//!
//! ```text
//!   parent ── fork ──> media driver, SHARED: one thread for everything; killed when its last ring is dropped, or its parent dies
//!     ├────── fork ──> producer: a client, an exclusive publication, try_claim          ┐ term buffers in /dev/shm,
//!     └────── fork ──> consumer: a client, a subscription, poll of up to 256 fragments  ┘ 3 x 64 MiB a publication
//! ```
//!
//! The driver moves the limit up to which a publication may write, so it has to run while both sides spin: it gets SCHED_FIFO,
//! as Aeron's authors give it a processor of its own. Term buffers are touched before use, as the driver does when files are
//! not sparse. A record above the largest fragment (65,472 bytes of payload) is offered and reassembled, which copies it once
//! more. Several senders are several publications of one stream, which a subscription reads in turn: no total order.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use nix::libc;
use nix::sys::prctl;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork};
use rusteron_client::{
    AERON_IPC_STREAM, Aeron, AeronContext, AeronExclusivePublication, AeronFragmentClosureAssembler,
    AeronHeader, AeronOfferError, AeronSubscription, Handlers,
};
use rusteron_media_driver::{AeronDriver, AeronDriverContext, bindings::aeron_threading_mode_enum};

use super::parts::{Pause, Scratch, Waiting};
use crate::process::allowed_cpus;
use crate::workload::{Contestant, Receiver, Records, Sender};

const TERM_BYTES: usize = 64 << 20;
const MTU_BYTES: usize = 65504;
/// What `try_claim` can take.
const CLAIM_BYTES_MAX: usize = MTU_BYTES - 32;
const POLL_LIMIT: usize = 256;
const FIFO_PRIORITY: i32 = 10;
/// For the driver to start, for a client to be answered.
const PATIENCE: Duration = Duration::from_secs(5);

fn shown(error: impl std::fmt::Debug) -> String {
    format!("aeron: {error:?}")
}

/// A media driver in a process of its own.
#[derive(Debug)]
struct Driver {
    pid: Pid,
    scratch: Scratch,
}

impl Driver {
    /// The one that is running, or a new one.
    fn shared() -> Result<Arc<Self>, String> {
        static RUNNING: Mutex<Weak<Driver>> = Mutex::new(Weak::new());
        let mut running = RUNNING.lock().expect("nobody panics inside");
        if let Some(driver) = running.upgrade() {
            return Ok(driver);
        }
        let driver = Arc::new(Self::start()?);
        *running = Arc::downgrade(&driver);
        Ok(driver)
    }

    fn start() -> Result<Self, String> {
        let scratch = Scratch::new();
        let directory = scratch.shared_memory();
        // SAFETY: the parent has one thread, which is what its own children rely on too, so this one may do what it could.
        let pid = match unsafe { fork() }.map_err(|error| format!("fork: {error}"))? {
            ForkResult::Child => drive(&directory),
            ForkResult::Parent { child } => child,
        };
        let driver = Self { pid, scratch };
        driver.prefer()?;
        let began = Instant::now();
        while !directory.join("cnc.dat").exists() {
            if waitpid(pid, Some(WaitPidFlag::WNOHANG)) != Ok(WaitStatus::StillAlive)
                || began.elapsed() > PATIENCE
            {
                return Err("aeron: the media driver did not start, see above".to_owned());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(driver)
    }

    /// Lets the driver run although both processors have somebody who spins.
    fn prefer(&self) -> Result<(), String> {
        let priority = libc::sched_param { sched_priority: FIFO_PRIORITY };
        // SAFETY: our own child, and a parameter that lives until the call returns.
        let answer =
            unsafe { libc::sched_setscheduler(self.pid.as_raw(), libc::SCHED_FIFO, &raw const priority) };
        if answer == 0 || allowed_cpus().len() > 2 {
            return Ok(());
        }
        Err(format!(
            "aeron: its driver has no processor of its own and may not have SCHED_FIFO ({}); needs CAP_SYS_NICE",
            std::io::Error::last_os_error()
        ))
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // Not waited for elsewhere while it is alive, so the id is its own; fails if it is gone already.
        let _ = kill(self.pid, Signal::SIGKILL);
        let _ = waitpid(self.pid, None);
    }
}

/// The life of a driver.
fn drive(directory: &Path) -> ! {
    let work = || {
        prctl::set_pdeathsig(Signal::SIGKILL).map_err(shown)?;
        let context = AeronDriverContext::new().map_err(shown)?;
        context.set_dir(&c_path(directory)).map_err(shown)?;
        context.set_dir_delete_on_start(true).map_err(shown)?;
        context.set_threading_mode(aeron_threading_mode_enum::AERON_THREADING_MODE_SHARED).map_err(shown)?;
        context.set_ipc_term_buffer_length(TERM_BYTES).map_err(shown)?;
        context.set_term_buffer_sparse_file(false).map_err(shown)?;
        context.set_ipc_mtu_length(MTU_BYTES).map_err(shown)?;
        let driver = AeronDriver::new(&context).map_err(shown)?;
        driver.start(true).map_err(shown)?;
        loop {
            driver.main_idle_strategy(driver.main_do_work().map_err(shown)?);
        }
    };
    let Err::<std::convert::Infallible, String>(error) = work();
    eprintln!("{error}");
    // SAFETY: ends this process at once; nothing of the parent's is to be flushed or dropped here.
    unsafe { libc::_exit(1) }
}

fn c_path(path: &Path) -> CString {
    CString::new(path.as_os_str().as_bytes()).expect("a path has no zero inside")
}

/// One or several to one or several, each record to every receiver.
#[derive(Debug)]
pub(super) struct Stream {
    driver: Arc<Driver>,
    id: i32,
    record_bytes: usize,
    n_senders: i32,
    waiting: Waiting,
}

impl Stream {
    /// # Errors
    ///
    /// What keeps the driver from starting.
    pub(super) fn new(record_bytes: usize, n_senders: usize, waiting: Waiting) -> Result<Self, String> {
        static N_MADE: AtomicI32 = AtomicI32::new(1);
        // ORDER none (Relaxed): only a number that no other stream has.
        let id = N_MADE.fetch_add(1, Ordering::Relaxed);
        let n_senders = n_senders.try_into().expect("a handful");
        Ok(Self { driver: Driver::shared()?, id, record_bytes, n_senders, waiting })
    }

    /// This process's client.
    fn connect(&self) -> Aeron {
        let context = AeronContext::new().expect("aeron: a context");
        context.set_dir(&c_path(&self.driver.scratch.shared_memory())).expect("aeron: a directory");
        let client = Aeron::new(&context).expect("aeron: a client");
        client.start().expect("aeron: a client's conductor");
        client
    }
}

impl Contestant for Stream {
    fn sender(&self) -> impl Sender {
        let client = self.connect();
        let publication = client.add_exclusive_publication(AERON_IPC_STREAM, self.id, PATIENCE);
        let publication = publication.expect("aeron: a publication");
        Publishes { publication, pause: Pause::new(self.waiting), _client: client }
    }

    /// Comes back when it will get what every sender sends from then on.
    fn receiver(&self) -> impl Receiver {
        let client = self.connect();
        let subscription =
            client.add_subscription(AERON_IPC_STREAM, self.id, Handlers::NONE, Handlers::NONE, PATIENCE);
        let subscription = subscription.expect("aeron: a subscription");
        while subscription.image_count().expect("aeron: images") < self.n_senders {
            std::thread::sleep(Duration::from_millis(1));
        }
        let is_whole = self.record_bytes <= CLAIM_BYTES_MAX;
        let assembler =
            (!is_whole).then(|| AeronFragmentClosureAssembler::new().expect("aeron: an assembler"));
        Subscribes { subscription, assembler, _client: client }
    }
}

struct Publishes {
    publication: AeronExclusivePublication,
    pause: Pause,
    _client: Aeron,
}

impl Publishes {
    /// Claims, fills and commits, or copies by `offer` what is too large to be claimed.
    #[inline(always)]
    fn publish(&self, record: &[u8]) -> Result<(), AeronOfferError> {
        if record.len() > CLAIM_BYTES_MAX {
            return self.publication.offer(record).map(|_| ());
        }
        let mut claim = self.publication.try_claim_owned(record.len())?;
        claim.data().copy_from_slice(record);
        claim.commit().expect("aeron: commit");
        Ok(())
    }
}

impl Sender for Publishes {
    fn send(&mut self, records: &mut impl Records, n_records: usize) {
        for _ in 0..n_records {
            let record = records.next_record();
            loop {
                match self.publish(record) {
                    Ok(()) => break,
                    Err(error) if error.is_retryable() => self.pause.again(),
                    Err(error) => panic!("aeron: {error}"),
                }
            }
        }
    }
}

struct Subscribes {
    subscription: AeronSubscription,
    assembler: Option<AeronFragmentClosureAssembler>,
    _client: Aeron,
}

impl Receiver for Subscribes {
    fn receive(&mut self, mut each: impl FnMut(&[u8])) {
        let n_read = match &mut self.assembler {
            None => self.subscription.poll_fn(|record, _| each(record), POLL_LIMIT),
            Some(assembler) => {
                let mut each: &mut dyn FnMut(&[u8]) = &mut each;
                assembler.poll(&self.subscription, &mut each, hand_over, POLL_LIMIT)
            }
        };
        n_read.expect("aeron: poll");
    }
}

fn hand_over(each: &mut &mut dyn FnMut(&[u8]), record: &[u8], _header: AeronHeader) {
    each(record);
}
