//! Rivals: what a user could take instead, each tuned as its documentation says. `benches/README.md` has the table.
//!
//! Every one of them waits for space, so that nothing is lost; every record is copied in from the pool and read in full,
//! in place where the rival allows that. None leaves anything behind: files without a name, queues whose name is gone, and
//! iceoryx2's files, which are removed.
//!
//! | waits | where |
//! |-------|-------|
//! | spinning | ping-pong and streams: a processor for each side |
//! | yielding, or blocking what the kernel carries | several senders or receivers on two processors (receivers: the harness) |
//! | as the rival does it when asked to sleep | ping-pong with that word in its name |

#[cfg(feature = "aeron")]
mod aeron;
mod disruptor;
mod iceoryx2;
mod ipc_channel;
mod ipmpsc;
mod kernel_bytes;
mod kernel_messages;
mod parts;
mod ringfire;
mod rtrb;
mod shaq;
mod shmem_ipc;

use crate::cells::{Cells, FAN_SIZES, Group, N_CROWD, N_FAN, STREAM_SIZES, Waits};
use crate::ours::batch_of;
use parts::{Batch, Waiting};

use Waiting::{Block, Spin, Yield};

const RIVAL: Group = Group::Rival;
/// What a receiver takes at once, at most: records, and bytes, an eighth of the ring.
const READ_RECORDS_MAX: usize = 256;
const READ_BYTES_MAX: usize = 512 << 10;

/// Statements for each size, which is a constant in them: the record's type has it.
macro_rules! for_sizes {
    ([$($size:literal),*] $n:ident => $body:block) => {
        $({ const $n: usize = $size; $body })*
    };
}

macro_rules! for_stream_sizes {
    ($n:ident => $body:block) => { for_sizes!([16, 64, 256, 1024, 4096, 65536] $n => $body) };
}
const _: () = assert!(matches!(STREAM_SIZES, [16, 64, 256, 1024, 4096, 65536]));

macro_rules! for_fan_sizes {
    ($n:ident => $body:block) => { for_sizes!([64, 1024, 65536] $n => $body) };
}
const _: () = assert!(matches!(FAN_SIZES, [64, 1024, 65536]));

/// Adds every rival's cells.
pub(crate) fn add(cells: &mut Cells) {
    shaq_one_to_one(cells);
    shaq_several(cells);
    shmem_ipc(cells);
    threads(cells);
    iceoryx2(cells);
    kernel(cells);
    channels(cells);
    ringfire(cells);
    #[cfg(feature = "aeron")]
    aeron(cells);
}

fn batches(record_bytes: usize) -> Batch {
    let n_receive = READ_RECORDS_MAX.min(READ_BYTES_MAX / record_bytes);
    Batch { n_send: batch_of(record_bytes), n_receive }
}

/// shaq's queues for several sides like shorter ones.
fn short_batches(record_bytes: usize) -> Batch {
    let Batch { n_send, n_receive } = batches(record_bytes);
    Batch { n_send: n_send.min(8), n_receive }
}

fn shaq_one_to_one(cells: &mut Cells) {
    use shaq::{Broadcast, Spsc};
    cells.pingpong(RIVAL, "shaq", Waits::Spin, |ring, _| Spsc::<64>::new(ring, Batch::ONE, Spin));
    cells.pingpong(RIVAL, "shaq", Waits::Adaptive, |ring, _| Spsc::<64>::new(ring, Batch::ONE, Block));
    cells.paced(RIVAL, "shaq", Waits::Adaptive, |ring, _| Spsc::<64>::new(ring, Batch::ONE, Block));
    cells.pingpong(RIVAL, "shaq_broadcast", Waits::Spin, |ring, _| {
        Broadcast::<64>::new(ring, [1, 1], Batch::ONE, Spin)
    });
    for_stream_sizes!(N => {
        cells.stream_at(RIVAL, "shaq", N, |ring, _| Spsc::<N>::new(ring, Batch::ONE, Spin));
        cells.stream_at(RIVAL, "shaq_batch", N, |ring, _| Spsc::<N>::new(ring, batches(N), Spin));
    });
}

fn shaq_several(cells: &mut Cells) {
    use shaq::{Broadcast, Mpmc};
    const OUT: [usize; 2] = [1, N_FAN];
    const IN: [usize; 2] = [N_FAN, 1];
    for_fan_sizes!(N => {
        cells.fan_out_at(RIVAL, "shaq_broadcast", N, |ring, _| Broadcast::<N>::new(ring, OUT, Batch::ONE, Yield));
        cells.fan_out_at(RIVAL, "shaq_broadcast_batch", N, |ring, _| {
            Broadcast::<N>::new(ring, OUT, short_batches(N), Yield)
        });
        cells.fan_in_at(RIVAL, "shaq_broadcast", N, |ring, _| Broadcast::<N>::new(ring, IN, Batch::ONE, Yield));
        cells.fan_in_at(RIVAL, "shaq_broadcast_batch", N, |ring, _| {
            Broadcast::<N>::new(ring, IN, short_batches(N), Yield)
        });
        cells.fan_in_at(RIVAL, "shaq_mpmc", N, |ring, _| Mpmc::<N>::new(ring, Batch::ONE, Yield));
        cells.fan_in_at(RIVAL, "shaq_mpmc_batch", N, |ring, _| Mpmc::<N>::new(ring, short_batches(N), Yield));
    });
    cells.crowd(RIVAL, "shaq_broadcast", |ring, _| {
        Broadcast::<64>::new(ring, [N_CROWD, 1], Batch::ONE, Yield)
    });
    // No `mpmc` in a crowd: its writers wait for each other without yielding, and are not done when the time is up.
}

fn shmem_ipc(cells: &mut Cells) {
    use shmem_ipc::Sharedring;
    cells.pingpong(RIVAL, "shmem_ipc", Waits::Spin, |ring, _| Sharedring::<8>::new(ring, Batch::ONE, Spin));
    cells.pingpong(RIVAL, "shmem_ipc", Waits::Block, |ring, _| Sharedring::<8>::new(ring, Batch::ONE, Block));
    cells.paced(RIVAL, "shmem_ipc", Waits::Block, |ring, _| Sharedring::<8>::new(ring, Batch::ONE, Block));
    for_stream_sizes!(N => {
        const W: usize = N / 8;
        cells.stream_at(RIVAL, "shmem_ipc", N, |ring, _| Sharedring::<W>::new(ring, Batch::ONE, Spin));
        cells.stream_at(RIVAL, "shmem_ipc_batch", N, |ring, _| Sharedring::<W>::new(ring, batches(N), Spin));
    });
}

/// Both sides in one process.
fn threads(cells: &mut Cells) {
    cells.pingpong(RIVAL, "rtrb", Waits::Spin, |ring, _| rtrb::Threads::<64>::new(ring, Batch::ONE));
    cells
        .pingpong(RIVAL, "disruptor", Waits::Spin, |ring, _| disruptor::Threads::<64>::new(ring, Batch::ONE));
    for_stream_sizes!(N => {
        cells.stream_at(RIVAL, "rtrb", N, |ring, _| rtrb::Threads::<N>::new(ring, Batch::ONE));
        cells.stream_at(RIVAL, "rtrb_batch", N, |ring, _| rtrb::Threads::<N>::new(ring, batches(N)));
        cells.stream_at(RIVAL, "disruptor", N, |ring, _| disruptor::Threads::<N>::new(ring, Batch::ONE));
        cells.stream_at(RIVAL, "disruptor_batch", N, |ring, _| disruptor::Threads::<N>::new(ring, batches(N)));
    });
}

fn iceoryx2(cells: &mut Cells) {
    use iceoryx2::Service;
    cells.both(RIVAL, "iceoryx2", |ring, record| Service::new(ring, record, [1, 1], Spin));
    cells.pingpong(RIVAL, "iceoryx2", Waits::Block, |ring, record| Service::new(ring, record, [1, 1], Block));
    cells.paced(RIVAL, "iceoryx2", Waits::Block, |ring, record| Service::new(ring, record, [1, 1], Block));
    cells.fan_out(RIVAL, "iceoryx2", |ring, record| Service::new(ring, record, [1, N_FAN], Yield));
    cells.fan_in(RIVAL, "iceoryx2", |ring, record| Service::new(ring, record, [N_FAN, 1], Yield));
    cells.crowd(RIVAL, "iceoryx2", |ring, record| Service::new(ring, record, [N_CROWD, 1], Yield));
}

fn kernel(cells: &mut Cells) {
    use kernel_bytes::Stream;
    use kernel_messages::{Queue, Seqpacket};
    cells.both(RIVAL, "pipe", |_, record| Stream::pipe(record, Spin));
    cells.both(RIVAL, "uds_stream", |_, record| Stream::socket(record, Spin));
    cells.both(RIVAL, "uds_seqpacket", |_, record| Seqpacket::new(record, Spin));
    cells.both(RIVAL, "posix_mq", |ring, record| Queue::new(ring, record, Spin));

    cells.pingpong(RIVAL, "pipe", Waits::Block, |_, record| Stream::pipe(record, Block));
    cells.pingpong(RIVAL, "uds_stream", Waits::Block, |_, record| Stream::socket(record, Block));
    cells.pingpong(RIVAL, "uds_seqpacket", Waits::Block, |_, record| Seqpacket::new(record, Block));
    cells.pingpong(RIVAL, "posix_mq", Waits::Block, |ring, record| Queue::new(ring, record, Block));

    cells.paced(RIVAL, "pipe", Waits::Block, |_, record| Stream::pipe(record, Block));
    cells.paced(RIVAL, "uds_stream", Waits::Block, |_, record| Stream::socket(record, Block));

    // What is torn when it is written by several stays away.
    for record_bytes in FAN_SIZES.into_iter().filter(|&bytes| bytes <= kernel_bytes::PIPE_BUF) {
        cells.fan_in_at(RIVAL, "pipe", record_bytes, |_, record| Stream::pipe(record, Block));
    }
    cells.fan_in(RIVAL, "uds_seqpacket", |_, record| Seqpacket::new(record, Block));
    cells.fan_in(RIVAL, "posix_mq", |ring, record| Queue::new(ring, record, Block));
    cells.crowd(RIVAL, "pipe", |_, record| Stream::pipe(record, Block));
}

/// Several to one.
fn channels(cells: &mut Cells) {
    use ipc_channel::Channel;
    use ipmpsc::Ring;
    cells.both(RIVAL, "ipmpsc", |ring, _| Ring::new(ring, Spin));
    cells.pingpong(RIVAL, "ipmpsc", Waits::Block, |ring, _| Ring::new(ring, Block));
    cells.fan_in(RIVAL, "ipmpsc", |ring, _| Ring::new(ring, Block));
    cells.crowd(RIVAL, "ipmpsc", |ring, _| Ring::new(ring, Block));

    cells.both(RIVAL, "ipc_channel", |_, _| Channel::new(Spin));
    cells.pingpong(RIVAL, "ipc_channel", Waits::Block, |_, _| Channel::new(Block));
    cells.fan_in(RIVAL, "ipc_channel", |_, _| Channel::new(Block));
    cells.crowd(RIVAL, "ipc_channel", |_, _| Channel::new(Block));
}

fn ringfire(cells: &mut Cells) {
    use ringfire::Ring;
    cells.pingpong(RIVAL, "ringfire", Waits::Spin, |ring, _| Ring::<64>::new(ring, 1, Batch::ONE, Spin));
    cells.pingpong(RIVAL, "ringfire", Waits::Adaptive, |ring, _| Ring::<64>::new(ring, 1, Batch::ONE, Block));
    cells.paced(RIVAL, "ringfire", Waits::Adaptive, |ring, _| Ring::<64>::new(ring, 1, Batch::ONE, Block));
    for_stream_sizes!(N => {
        cells.stream_at(RIVAL, "ringfire", N, |ring, _| Ring::<N>::new(ring, 1, Batch::ONE, Spin));
        cells.stream_at(RIVAL, "ringfire_batch", N, |ring, _| Ring::<N>::new(ring, 1, batches(N), Spin));
    });
    for_fan_sizes!(N => {
        cells.fan_out_at(RIVAL, "ringfire", N, |ring, _| Ring::<N>::new(ring, N_FAN, Batch::ONE, Yield));
        cells.fan_out_at(RIVAL, "ringfire_batch", N, |ring, _| Ring::<N>::new(ring, N_FAN, batches(N), Yield));
    });
}

#[cfg(feature = "aeron")]
fn aeron(cells: &mut Cells) {
    use aeron::Stream;
    cells.both(RIVAL, "aeron", |_, record| Stream::new(record, 1, Spin));
    cells.fan_out(RIVAL, "aeron", |_, record| Stream::new(record, 1, Yield));
    cells.fan_in(RIVAL, "aeron", |_, record| Stream::new(record, N_FAN, Yield));
}
