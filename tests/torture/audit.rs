//! Audit: what has to hold when a world has ended, and nobody is there any more.
//!
//! | checked | by |
//! |---|---|
//! | everything that was committed was delivered, nothing else was | reading the rest under both names; the lives' books |
//! | nobody is alive, no lock byte is held | stats; F_OFD_GETLK over the whole file |
//! | LOST is rare, and counted | producers killed, the ring's count, the consumers' |
//! | all slots and names are free | taking each of them once more |
//! | nothing is left behind | the directory has the ring, and nothing else |
//!
//! (I1) called by the driver after its last child's end.

use crate::cast::Place;
use crate::kinds::Role;
use crate::ledger::{Look, attach, balance};
use crate::world::{BOUND, Stand, Violation};
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use shm_ring::{Producer, Ring};
use std::fs::OpenOptions;
use std::path::Path;
use std::time::{Duration, Instant};

/// Compares everything; the first thing that is not as it should be.
pub(crate) fn audit(stand: &mut Stand<'_>, directory: &Path) -> Result<(), Violation> {
    no_byte_is_held(stand)?;
    let ring = stand.ring()?;
    let stats = ring.stats().map_err(|e| e.to_string())?;
    require(stats.producers.iter().all(|p| !p.alive), "a producer that is gone is alive in the stats")?;
    require(stats.consumers.iter().all(|c| !c.alive), "a consumer that is gone is alive in the stats")?;
    read_the_rest(stand, &ring)?;
    let (records, in_flight) = balance(stand.oracle)?;
    let lost = ring.stats().map_err(|e| e.to_string())?.lost_records;
    let (complete, kills) = (stand.oracle.reader(Role::C0).load(), stand.producer_kills);
    require(lost <= kills, &format!("{lost} claims were lost by {kills} deaths of producers"))?;
    require(
        complete.lost <= lost + stand.uncounted_max,
        &format!(
            "a consumer passed {} LOST, {lost} were counted, {} may not be",
            complete.lost, stand.uncounted_max
        ),
    )?;
    let shown = ring.consumer(Role::C0.name()).map_err(|e| e.to_string())?.lost_records();
    require(
        shown >= lost,
        &format!("the ring lost {lost} claims, and its complete consumer passed {shown}"),
    )?;
    all_is_free(stand, &ring)?;
    drop(ring);
    if !stand.world.shape.anonymous {
        drop(stand.ring()?);
        let left: Vec<_> = std::fs::read_dir(directory).unwrap().flatten().map(|e| e.file_name()).collect();
        require(left == ["ring"], &format!("left in the directory: {left:?}"))?;
        no_byte_is_held(stand)?;
        std::fs::remove_file(directory.join("ring")).map_err(|e| e.to_string())?;
    }
    for role in Role::CONSUMERS {
        let reader = stand.oracle.reader(role);
        let load = |word: &std::sync::atomic::AtomicU64| word.load(std::sync::atomic::Ordering::SeqCst);
        stand.totals.delivered += load(&reader.delivered);
        stand.totals.redelivered += load(&reader.redelivered);
        stand.totals.gaps += u64::from(reader.load().gaps);
    }
    stand.totals.records += records;
    stand.totals.in_flight += in_flight;
    stand.totals.lost += lost;
    stand.totals.lives += stand.oracle.n_lives() as u64;
    Ok(())
}

fn require(holds: bool, or: &str) -> Result<(), Violation> {
    if holds { Ok(()) } else { Err(or.to_owned()) }
}

fn read_the_rest(stand: &Stand<'_>, ring: &Ring) -> Result<(), Violation> {
    for role in Role::CONSUMERS {
        let (mut consumer, mut ledger) = attach(stand.oracle, ring, role).map_err(|e| e.to_string())?;
        let start = Instant::now();
        // A hole that the dead left is mended by whoever looks often enough.
        while ledger.look(&mut consumer, Duration::from_millis(2)) == Look::Record || consumer.lag_bytes() > 0
        {
            require(start.elapsed() < BOUND, &format!("{role:?} is held up at {}", consumer.position()))?;
        }
    }
    Ok(())
}

fn all_is_free(stand: &Stand<'_>, ring: &Ring) -> Result<(), Violation> {
    let n = u16::try_from(stand.world.shape.producers().len()).unwrap();
    let producers: Result<Vec<Producer>, _> = (0..n).map(|_| ring.producer()).collect();
    let mut producers = producers.map_err(|e| format!("a producer slot is not free: {e}"))?;
    require(producers.iter().map(Producer::slot).eq(0..n), "producer slots are not given in order")?;
    let names = ring.stats().map_err(|e| e.to_string())?.consumers;
    let names = names.into_iter().map(|consumer| consumer.name).filter(|name| name != Role::C0.name());
    let consumers: Result<Vec<_>, _> = names.map(|name| ring.consumer(&name)).collect();
    drop(consumers.map_err(|e| format!("a name is not free: {e}"))?);
    let mut last = ring.consumer(Role::C0.name()).map_err(|e| e.to_string())?;
    for producer in &mut producers {
        producer.try_push(b"last").map_err(|e| format!("an empty ring: {e}"))?;
        let frame = last.poll_timeout(BOUND).map_err(|e| e.to_string())?;
        require(frame.is_some_and(|frame| *frame == *b"last"), "the last record is not the last")?;
    }
    Ok(())
}

fn no_byte_is_held(stand: &Stand<'_>) -> Result<(), Violation> {
    let Place::File(path) = &stand.stage.place else { return Ok(()) };
    let file = OpenOptions::new().read(true).write(true).open(path).map_err(|e| e.to_string())?;
    let mut whole = libc::flock {
        l_type: libc::F_WRLCK as i16,
        l_whence: libc::SEEK_SET as i16,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    fcntl(&file, FcntlArg::F_OFD_GETLK(&mut whole)).map_err(|e| e.to_string())?;
    require(i32::from(whole.l_type) == libc::F_UNLCK, &format!("byte {} is held by nobody", whole.l_start))
}
