//! Segment: one file of a log, mapped: its live page, its index, and its frames where they lie.
//!
//! ```text
//!   make: NAME.tmp, header, boot, sync, NAME        open: header, checked against its name and its log
//!      |                                               |
//!   put: payload and metadata | w1 | w0             frame_at: does one stand there?   frame: does it hold?
//!   publish: end                                    end
//!   seal: place words | seal_crc | SEALED           seal_of: what it says, if the checksum holds
//! ```
//!
//! | label | store side | load side | what is carried |
//! |-------|------------|-----------|-----------------|
//! | S1/S2 | `end`, Release | `end`, Acquire | the frames below |
//! | S3/S4 | `state`, Release | `state`, Acquire | ACTIVE: base, end, boot; SEALED: the place words |
//! | S5/S6 | `n_index`, Release | `n_index`, Acquire | the entries |
//! | S7/S8 | `w0`, Release | `w0`, Acquire | the frame, for who looks behind `end`: nobody but recovery |
//!
//! What a death leaves between any two stores of `put`: nothing that anybody believes, since `end` is below. Between `seal` and ACTIVE in the
//! next segment: a sealed segment with a prepared one behind it, which recovery makes active. In the middle of a seal: an ACTIVE segment, as
//! before. After a power cut every page is there or not by itself, so `end`, the state and the index are hints, and the checksums decide.
//!
//! (I1) one process stores (lock byte 1 of the log), and in it one thread: the appender's words its own, `durable` and the suspect mark
//! whoever syncs, under the lock of the log's hands; (I2) frames below `end` are never stored to again; (I3) every offset is checked against
//! the extent before it is used.
//! Decides nothing about other segments.

use super::error::{Trouble, no_room, trouble};
use super::names;
use crate::frame::copy::copy_in;
use crate::layout::header::HEADER_BYTES;
use crate::layout::mapped::SEALED;
use crate::layout::segment::{
    ACTIVE, Covered, INDEX_ENTRY_BYTES, IndexEntry, Key, LOG_PAYLOAD_OFFSET, LogHead, SEGMENT_LIVE_BYTES,
    SEGMENT_VERSION, SUSPECT, Sealed, SegmentHeader, SegmentLive, is_log_boundary,
};
use crate::map::medium::{Medium, MediumFile, MediumMap};
use crate::sync::{AtomicU64, Ordering};
use std::ptr;

/// Bytes that are copied, and then taken into the checksum while the processor still has them at hand; ten times what the checksum takes in
/// three streams side by side (768), so that no piece but the last has a rest for one.
const PIECE_BYTES: usize = 7680;
/// Zeros are written in parts of that size, no larger: the system keeps what was written at once together, and brings all of it to the medium
/// when a byte of it was changed through a map.
const ZEROS_BYTES: usize = 4096;

/// A mapped segment.
#[derive(Debug)]
pub(crate) struct Segment<F: MediumFile> {
    file: F,
    map: F::Map,
    header: SegmentHeader,
    key: Key,
}

/// What a new segment's pages are on the medium before anybody uses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ground {
    /// Allocated.
    Allocated,
    /// Written: a sync of a later page is of its bytes only, and of nothing that the file system notes about them.
    Written,
}

/// A frame, in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LogFrame<'a> {
    /// Its first word.
    pub(crate) head: LogHead,
    /// Its timestamp, ns since the Unix epoch.
    pub(crate) timestamp_ns: u64,
    /// Sequence, level and kind.
    pub(crate) tags: u64,
    /// Its bytes.
    pub(crate) payload: &'a [u8],
}

/// What a frame is to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Staged<'a> {
    /// State and slot; the length is the payload's.
    pub(crate) head: LogHead,
    /// Its timestamp, ns since the Unix epoch.
    pub(crate) timestamp_ns: u64,
    /// Sequence, level and kind.
    pub(crate) tags: u64,
    /// Its bytes.
    pub(crate) payload: &'a [u8],
}

impl<F: MediumFile> Segment<F> {
    /// A new, empty segment, complete on the medium before it has its name; the name is not synced.
    pub(crate) fn make<M: Medium<File = F>>(
        medium: &M,
        header: SegmentHeader,
        boot: [u64; 2],
        ground: Ground,
    ) -> Result<Self, Trouble> {
        let name = names::segment(header.number);
        let temporary = names::temporary(&name);
        let file_bytes = header.extent.file_bytes;
        // What a death left, or an attempt that failed.
        let _ = medium.remove(&temporary);
        let made = medium.create(&temporary, file_bytes);
        let file = made.map_err(|why| no_room("create", &name, file_bytes, medium.free_bytes())(why))?;
        let complete = || {
            if ground == Ground::Written {
                for at in (0..file_bytes).step_by(ZEROS_BYTES) {
                    let length = usize::try_from(file_bytes - at).map_or(ZEROS_BYTES, |l| l.min(ZEROS_BYTES));
                    file.write_at(&[0; ZEROS_BYTES][..length], at)?;
                }
            }
            Self::write_front(&file, &header, boot)?;
            file.sync()?;
            medium.rename(&temporary, &name)?;
            file.map(file_bytes, true)
        };
        let map = complete().map_err(|why| {
            // Nobody has seen it; best effort.
            let _ = medium.remove(&temporary);
            no_room("make", &name, file_bytes, medium.free_bytes())(why)
        })?;
        Ok(Self { file, map, header, key: Key::of(&header.uuid) })
    }

    /// Makes a spare, of the right size, that segment. Its old frames stay, and none of them holds under the new name.
    ///
    /// A death or a power cut before the rename leaves a spare, of which nobody believes more than the length.
    pub(crate) fn make_of_spare<M: Medium<File = F>>(
        medium: &M,
        spare: &str,
        header: SegmentHeader,
        boot: [u64; 2],
    ) -> Result<Option<Self>, Trouble> {
        let name = names::segment(header.number);
        let file = medium.open(spare, true).map_err(trouble("open", spare))?;
        let is_fit = file.len_bytes().map_err(trouble("examine", spare))? == header.extent.file_bytes;
        // A reader that has it mapped still reads the old frames there.
        let Some(alone) =
            is_fit.then(|| file.keep_readers_out()).transpose().map_err(trouble("lock", spare))?.flatten()
        else {
            return Ok(None);
        };
        let complete = || {
            Self::write_front(&file, &header, boot)?;
            file.sync()?;
            medium.rename(spare, &name)?;
            file.map(header.extent.file_bytes, true)
        };
        let map = complete().map_err(trouble("use again", spare))?;
        drop(alone);
        Ok(Some(Self { file, map, header, key: Key::of(&header.uuid) }))
    }

    /// Header, live page and index of an empty segment.
    fn write_front(file: &F, header: &SegmentHeader, boot: [u64; 2]) -> std::io::Result<()> {
        let extent = &header.extent;
        let length = usize::try_from(extent.data_offset)
            .map_err(|_| std::io::Error::from(std::io::ErrorKind::InvalidInput))?;
        let mut front = vec![0; length];
        front[..HEADER_BYTES].copy_from_slice(&header.encode());
        let live = usize::try_from(extent.live_offset).unwrap_or(0) + std::mem::offset_of!(SegmentLive, era);
        let at = live + std::mem::offset_of!(crate::layout::segment::SegmentEra, boot_id);
        front[at..at + 8].copy_from_slice(&boot[0].to_le_bytes());
        front[at + 8..at + 16].copy_from_slice(&boot[1].to_le_bytes());
        let mut parts = (0..).step_by(ZEROS_BYTES).zip(front.chunks(ZEROS_BYTES));
        parts.try_for_each(|(at, part)| file.write_at(part, at))
    }

    /// Opens a segment by its number. Who wants to be sure that it is the one that the manifest means compares the uuid.
    pub(crate) fn open<M: Medium<File = F>>(
        medium: &M,
        number: u64,
        log_uuid: &[u8; 16],
        writable: bool,
    ) -> Result<Self, Trouble> {
        let name = names::segment(number);
        let file = medium.open(&name, writable).map_err(trouble("open", &name))?;
        Self::of_file(file, &name, number, log_uuid, writable)
    }

    /// The same of a file that is open already, which messages call by that name.
    pub(crate) fn of_file(
        file: F,
        name: &str,
        number: u64,
        log_uuid: &[u8; 16],
        writable: bool,
    ) -> Result<Self, Trouble> {
        let mut bytes = [0; HEADER_BYTES];
        let n = file.read_at(&mut bytes, 0).map_err(trouble("read", name))?;
        let found_bytes = file.len_bytes().map_err(trouble("examine", name))?;
        if n < HEADER_BYTES {
            let expected_bytes = HEADER_BYTES as u64;
            return Err(Trouble::Truncated { name: name.to_owned(), expected_bytes, found_bytes });
        }
        let header = SegmentHeader::decode(&bytes)
            .map_err(|why| Trouble::malformed(name.to_owned(), why, SEGMENT_VERSION))?;
        let expected_bytes = header.extent.file_bytes;
        if found_bytes < expected_bytes {
            return Err(Trouble::Truncated { name: name.to_owned(), expected_bytes, found_bytes });
        }
        let corrupt = |what, expected: String, found: String| {
            Err(Trouble::Corrupt { name: name.to_owned(), what, expected, found })
        };
        if header.number != number {
            return corrupt("segment number", number.to_string(), header.number.to_string());
        }
        if header.log_uuid != *log_uuid {
            return corrupt(
                "uuid of the log",
                format!("{log_uuid:02x?}"),
                format!("{:02x?}", header.log_uuid),
            );
        }
        let map = file.map(expected_bytes, writable).map_err(trouble("map", name))?;
        Ok(Self { file, map, header, key: Key::of(&header.uuid) })
    }

    /// What page 0 says.
    pub(crate) fn header(&self) -> &SegmentHeader {
        &self.header
    }

    /// Which segment it is.
    pub(crate) fn number(&self) -> u64 {
        self.header.number
    }

    /// Room for frames.
    pub(crate) fn data_bytes(&self) -> u64 {
        self.header.extent.data_bytes
    }

    /// The file, to be synced.
    pub(crate) fn file(&self) -> &F {
        &self.file
    }

    /// Its map.
    pub(crate) fn map(&self) -> &F::Map {
        &self.map
    }

    /// Page 1.
    #[inline(always)]
    pub(crate) fn live(&self) -> &SegmentLive {
        let words = self.map.words(self.header.extent.live_offset, SEGMENT_LIVE_BYTES / 8);
        let live = ptr::from_ref(words).cast::<SegmentLive>();
        assert!(live.is_aligned());
        // SAFETY:
        // - in bounds: the slice has as many bytes as the structure; aligned: just asserted (pages are);
        // - valid: nothing but atomics of 64 bits, for which every bit pattern is one;
        // - alive: the reference borrows `self` by way of the slice, which keeps the map.
        unsafe { &*live }
    }

    /// PREPARED, ACTIVE or SEALED, or what no appender stores.
    #[inline]
    pub(crate) fn state(&self) -> u64 {
        // ORDER S4 (Acquire, pairs with S3): what the state vouches for is visible.
        self.live().place.0.state.load(Ordering::Acquire)
    }

    /// The position behind the last published frame. Counts from ACTIVE on.
    #[inline(always)]
    pub(crate) fn end(&self) -> u64 {
        // ORDER S2 (Acquire, pairs with S1): the frames below are visible.
        self.live().end.0.load(Ordering::Acquire)
    }

    /// The position of the first frame. Counts from ACTIVE on, if the state was looked at.
    #[inline]
    pub(crate) fn base(&self) -> u64 {
        // ORDER none (Relaxed): carried by the state (S4).
        self.live().place.0.base.load(Ordering::Relaxed)
    }

    /// Whether the live page, and the frames up to `end` as far as they are there, are what was written, by that boot's id.
    pub(crate) fn is_of_boot(&self, boot: [u64; 2]) -> bool {
        is_known_boot(self.boot_id(), boot)
    }

    /// Whether a sync of it has failed.
    pub(crate) fn is_suspect(&self) -> bool {
        // ORDER none (Relaxed): a mark that nothing is read behind.
        self.live().era.0.suspect.load(Ordering::Relaxed) != 0 || self.boot_id() == SUSPECT
    }

    /// Says for good that a sync of it has failed. The boot id stays: up to where frames were published is still known.
    pub(crate) fn mark_suspect(&self) {
        // ORDER none (Relaxed): a mark that nothing is read behind.
        self.live().era.0.suspect.store(1, Ordering::Relaxed);
        self.map.step();
    }

    fn boot_id(&self) -> [u64; 2] {
        // ORDER none (Relaxed): stored before the state, or by an earlier process.
        self.live().era.0.boot_id.each_ref().map(|word| word.load(Ordering::Relaxed))
    }

    /// Makes a prepared segment the one that is appended to, from `base` on.
    pub(crate) fn activate(&self, base: u64, boot: [u64; 2]) {
        let live = self.live();
        // ORDER none (Relaxed): all of it is carried by the state below.
        for (word, value) in live.era.0.boot_id.iter().zip(boot) {
            word.store(value, Ordering::Relaxed);
        }
        self.note_writer();
        live.era.0.durable.store(base, Ordering::Relaxed);
        live.end.0.store(base, Ordering::Relaxed);
        live.place.0.base.store(base, Ordering::Relaxed);
        self.map.step();
        // ORDER S3 (Release, pairs with S4): base, end and boot are visible to whoever sees this state.
        live.place.0.state.store(ACTIVE, Ordering::Release);
        self.map.step();
    }

    /// Makes a segment that was cut short active again, at an end up to which it is known to hold.
    pub(crate) fn activate_again(&self, base: u64, end: u64, n_index: u64, boot: [u64; 2]) {
        let live = self.live();
        let words = [
            (&live.place.0.n_index, n_index),
            (&live.place.0.base, base),
            (&live.end.0, end),
            (&live.era.0.durable, end),
            (&live.era.0.boot_id[0], boot[0]),
            (&live.era.0.boot_id[1], boot[1]),
            (&live.era.0.suspect, 0),
        ];
        for (word, value) in words {
            // ORDER none (Relaxed): carried by the state below.
            word.store(value, Ordering::Relaxed);
            self.map.step();
        }
        // ORDER S3 (Release, pairs with S4): base, end and boot are visible to whoever sees this state.
        live.place.0.state.store(ACTIVE, Ordering::Release);
        self.map.step();
    }

    /// Says who appends; for display.
    pub(crate) fn note_writer(&self) {
        // ORDER none (Relaxed): display only.
        self.live().era.0.writer_pid.store(std::process::id().into(), Ordering::Relaxed);
    }

    /// Finishes the segment.
    pub(crate) fn seal(&self, sealed: &Sealed) {
        let place = &self.live().place.0;
        let words = [
            (&place.base, sealed.base),
            (&place.sealed_end, sealed.end),
            (&place.n_records, sealed.n_records),
            (&place.first_ns, sealed.first_ns),
            (&place.last_ns, sealed.last_ns),
            (&place.index_crc, sealed.index_crc.into()),
            (&place.seal_crc, sealed.crc(&self.header.uuid).into()),
        ];
        for (word, value) in words {
            // ORDER none (Relaxed): carried by the state below.
            word.store(value, Ordering::Relaxed);
            self.map.step();
        }
        self.publish_index(sealed.n_index);
        // ORDER S3 (Release, pairs with S4): the words above are visible to whoever sees this state.
        place.state.store(SEALED, Ordering::Release);
        self.map.step();
    }

    /// What a sealed segment says of itself; `None`: it is not sealed, or its checksum does not hold.
    pub(crate) fn seal_of(&self) -> Option<Sealed> {
        if self.state() != SEALED {
            return None;
        }
        let place = &self.live().place.0;
        // ORDER none (Relaxed): carried by the state (S4).
        let load = |word: &AtomicU64| word.load(Ordering::Relaxed);
        let sealed = Sealed {
            base: load(&place.base),
            end: load(&place.sealed_end),
            n_index: load(&place.n_index),
            n_records: load(&place.n_records),
            first_ns: load(&place.first_ns),
            last_ns: load(&place.last_ns),
            index_crc: u32::try_from(load(&place.index_crc)).ok()?,
        };
        (load(&place.seal_crc) == u64::from(sealed.crc(&self.header.uuid))).then_some(sealed)
    }

    /// The position below which all is on the medium, as the live page says.
    pub(crate) fn durable(&self) -> u64 {
        // ORDER none (Relaxed): a claim about the medium, not about memory.
        self.live().era.0.durable.load(Ordering::Relaxed)
    }

    /// Raises that.
    pub(crate) fn note_durable(&self, end: u64) {
        // ORDER none (Relaxed): a claim about the medium, not about memory.
        self.live().era.0.durable.store(end, Ordering::Relaxed);
        self.map.step();
    }

    /// Publishes everything that was put below `end`.
    #[inline(always)]
    pub(crate) fn publish(&self, end: u64) {
        // ORDER S1 (Release, pairs with S2): the frames below are visible to whoever sees this end.
        self.live().end.0.store(end, Ordering::Release);
        self.map.step();
    }

    /// Where the byte at `position` is in the file, in a segment that begins at `base`; the caller has compared both with the extent.
    #[inline(always)]
    pub(crate) fn offset_of(&self, base: u64, position: u64) -> u64 {
        self.header.extent.data_offset + (position - base)
    }

    /// Stores a frame at `position`, behind everything that was published; the caller has looked that it fits.
    #[inline(always)]
    pub(crate) fn put(&self, base: u64, position: u64, staged: &Staged<'_>) {
        let offset = self.offset_of(base, position);
        let span = staged.head.span_bytes();
        assert!(
            position >= base && position - base + span <= self.header.extent.data_bytes,
            "the caller has looked that the frame fits"
        );
        let w0 = staged.head.encode(position);
        let covered = Covered { position, w0, timestamp_ns: staged.timestamp_ns, tags: staged.tags };
        let length = usize::try_from(span - LOG_PAYLOAD_OFFSET).expect("below the mapped length, which fits");
        // SAFETY:
        // - writable: whoever appends has it mapped so;
        // - nobody else writes: lock byte 1 of the log, and one appender in the process; nobody reads behind `end` (S1), where this is: the
        //   caller's position is; recovery reads there, when no appender lives; trusts peers (crate docs, Trust).
        let room = unsafe { self.map.bytes_mut(offset + LOG_PAYLOAD_OFFSET, length) };
        if let Some(last) = room.last_chunk_mut::<16>() {
            // The pad, and what the payload is copied over next.
            *last = [0; 16];
        }
        let room = &mut room[..staged.payload.len()];
        let crc = if staged.payload.len() <= PIECE_BYTES {
            copy_in(room, staged.payload);
            self.key.crc_of(&covered, staged.payload)
        } else {
            // The second pass over a piece finds it in the nearest cache.
            let pieces = room.chunks_mut(PIECE_BYTES).zip(staged.payload.chunks(PIECE_BYTES));
            pieces.fold(self.key.begin(&covered), |crc, (to, from)| {
                to.copy_from_slice(from);
                crc32c::crc32c_append(crc, from)
            })
        };
        self.map.step();
        let words = self.map.words(offset, 4);
        // ORDER none (Relaxed): carried by `w0` and by `end`.
        words[2].store(staged.timestamp_ns, Ordering::Relaxed);
        words[3].store(staged.tags, Ordering::Relaxed);
        words[1].store(self.key.finish(position, crc), Ordering::Relaxed);
        self.map.step();
        // ORDER S7 (Release, pairs with S8): the frame is whole for whoever sees its first word.
        words[0].store(w0, Ordering::Release);
        self.map.step();
    }

    /// Takes away the frames between `from`, behind everything that was published, and `to`: the last one first, so that who is cut short here
    /// leaves a row of frames to the next. How many there were.
    pub(crate) fn take_away(&self, base: u64, from: u64, to: u64) -> usize {
        let (mut at, mut frames) = (from, vec![]);
        while let Some(frame) = self.frame(base, at, to) {
            frames.push(at);
            at += frame.head.span_bytes();
        }
        frames.iter().rev().for_each(|at| self.unput(base, *at));
        frames.len()
    }

    /// Takes from a frame that was never published what it holds by.
    fn unput(&self, base: u64, position: u64) {
        let words = self.map.words(self.offset_of(base, position), 2);
        // ORDER none (Relaxed): nobody reads behind `end`.
        words[1].store(0, Ordering::Relaxed);
        words[0].store(0, Ordering::Relaxed);
        self.map.step();
    }

    /// What a frame at `position` would be, by its first two words; `None`: none can stand there, or not below `limit`. Believe it only
    /// behind [`frame`](Self::frame).
    #[inline]
    pub(crate) fn head_at(&self, base: u64, position: u64, limit: u64) -> Option<LogHead> {
        let limit = limit.min(base.saturating_add(self.header.extent.data_bytes));
        if position < base
            || !is_log_boundary(position)
            || limit.saturating_sub(position) < LOG_PAYLOAD_OFFSET
        {
            return None;
        }
        let words = self.map.words(self.offset_of(base, position), 2);
        // ORDER S8 (Acquire, pairs with S7): the frame that this word is of is visible.
        let w0 = words[0].load(Ordering::Acquire);
        let head = LogHead::decode(w0, position)?;
        // ORDER none (Relaxed): carried by the first word.
        let w1 = words[1].load(Ordering::Relaxed);
        (head.span_bytes() <= limit - position && self.key.is_stamped(position, w1)).then_some(head)
    }

    /// The timestamp of a frame of which [`head_at`](Self::head_at) was some.
    pub(crate) fn timestamp_at(&self, base: u64, position: u64) -> u64 {
        // ORDER none (Relaxed): carried by the first word (S8).
        self.map.words(self.offset_of(base, position), 3)[2].load(Ordering::Relaxed)
    }

    /// The frame at `position`, if a whole one that holds stands there, below `limit`.
    ///
    /// Nobody may be storing below `limit`: it is an `end` that was loaded, or no appender lives.
    #[inline]
    pub(crate) fn frame(&self, base: u64, position: u64, limit: u64) -> Option<LogFrame<'_>> {
        let head = self.head_at(base, position, limit)?;
        let offset = self.offset_of(base, position);
        let words = self.map.words(offset, 4);
        let length = usize::try_from(head.len_bytes).expect("32 bits fit");
        // SAFETY: not written: frames below `end` never are again (I2), and the caller's limit is one, or nobody appends (trusts peers: crate
        // docs, Trust).
        let payload = unsafe { self.map.bytes(offset + LOG_PAYLOAD_OFFSET, length) };
        // ORDER none (Relaxed): carried by the first word (S8), or by `end` (S2).
        let [w0, w1, timestamp_ns, tags] =
            [0, 1, 2, 3].map(|word: usize| words[word].load(Ordering::Relaxed));
        let covered = Covered { position, w0, timestamp_ns, tags };
        let frame = LogFrame { head, timestamp_ns, tags, payload };
        self.key.is_sealed(w1, &covered, payload).then_some(frame)
    }

    /// Entries of the index that are whole; no more than there is room for.
    pub(crate) fn n_index(&self) -> u64 {
        // ORDER S6 (Acquire, pairs with S5): the entries are visible.
        self.live().place.0.n_index.load(Ordering::Acquire).min(self.header.extent.n_index_max())
    }

    /// An entry of the index.
    pub(crate) fn index_entry(&self, n: u64) -> IndexEntry {
        let words = self.index_words(n);
        // ORDER none (Relaxed): carried by `n_index` (S6).
        IndexEntry { last_ns: words[0].load(Ordering::Relaxed), position: words[1].load(Ordering::Relaxed) }
    }

    /// Stores an entry that nobody sees before [`publish_index`](Self::publish_index).
    pub(crate) fn put_index(&self, n: u64, entry: IndexEntry) {
        let words = self.index_words(n);
        // ORDER none (Relaxed): carried by `n_index` (S5).
        words[0].store(entry.last_ns, Ordering::Relaxed);
        words[1].store(entry.position, Ordering::Relaxed);
        self.map.step();
    }

    /// Publishes the first `n` entries.
    pub(crate) fn publish_index(&self, n: u64) {
        // ORDER S5 (Release, pairs with S6): the entries are visible to whoever sees their number.
        self.live().place.0.n_index.store(n, Ordering::Release);
        self.map.step();
    }

    fn index_words(&self, n: u64) -> &[AtomicU64] {
        assert!(n < self.header.extent.n_index_max(), "the index has an entry for each 64 KiB");
        self.map.words(self.header.extent.index_offset + n * INDEX_ENTRY_BYTES, 2)
    }
}

/// Whether an id found in a segment is this boot's for certain. Zeros, then or now, are nobody's: to take them for this boot's would be to take
/// what a power cut left for memory.
pub(crate) fn is_known_boot(found: [u64; 2], boot: [u64; 2]) -> bool {
    found == boot && found != [0; 2] && found != SUSPECT
}

/// An entry's bytes, as the checksum of the index takes them.
pub(crate) fn index_bytes(entry: &IndexEntry) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&entry.last_ns.to_le_bytes());
    bytes[8..].copy_from_slice(&entry.position.to_le_bytes());
    bytes
}

/// The checksum of these entries, as a seal has it.
pub(crate) fn index_crc(entries: impl IntoIterator<Item = IndexEntry>) -> u32 {
    entries.into_iter().fold(0, |crc, entry| crc32c::crc32c_append(crc, &index_bytes(&entry)))
}
