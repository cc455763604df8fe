//! View: one segment of a log, mapped to be read.
//!
//! ```text
//!   open --> share lock byte 2 --> header (whose number?) --> map --> look: base, end, state --> frame, frame, frame
//! ```
//!
//! | state    | frames are in | a frame there that does not check |
//! |----------|---------------|-----------------------------------|
//! | PREPARED | nothing       |                                   |
//! | ACTIVE, of this boot | base..end | is damaged              |
//! | ACTIVE, of another boot, or suspect | base..end | from the durable word on: never reached the medium; the log ends there |
//! | SEALED   | base..sealed end | is damaged                     |
//! | SEALED, of another boot, or suspect | base..sealed end | the same as of an ACTIVE one, unless the manifest calls it sealed, too |
//!
//! (I1) while the view lives the file is not used again: it shares lock byte 2, which who would use it needs alone; (I2) no payload byte is
//! touched at or behind `end`: lengths are compared before; (I3) nothing is believed: numbers of the live page are checked against the
//! header, frames by their checksum; (I4) a file that is shorter than it says is mapped as far as it goes, and what is behind that is damaged.
//! Writes nothing but the lock byte.

use super::names::{self, Name};
use super::segment::{index_crc, is_known_boot};
use crate::layout::frame::{FRAME_ALIGN, POSITION_END};
use crate::layout::header::HEADER_BYTES;
use crate::layout::mapped::SEALED;
use crate::layout::segment::{
    ACTIVE, Covered, INDEX_ENTRY_BYTES, IndexEntry, Key, LOG_PAYLOAD_OFFSET, LogHead, PREPARED,
    SEGMENT_LIVE_BYTES, SUSPECT, Sealed, SegmentHeader, SegmentLive, is_log_boundary,
};
use crate::map::medium::{Medium, MediumFile, MediumMap};
use crate::sync::{AtomicU64, Ordering};
use std::io;
use std::mem::offset_of;

const END: usize = offset_of!(SegmentLive, end.0) / 8;
const DURABLE: usize = offset_of!(SegmentLive, era.0.durable) / 8;
const BOOT_ID: usize = offset_of!(SegmentLive, era.0.boot_id) / 8;
const WRITER_PID: usize = offset_of!(SegmentLive, era.0.writer_pid) / 8;
const IS_SUSPECT: usize = offset_of!(SegmentLive, era.0.suspect) / 8;
const STATE: usize = offset_of!(SegmentLive, place.0.state) / 8;
const BASE: usize = offset_of!(SegmentLive, place.0.base) / 8;
const N_INDEX: usize = offset_of!(SegmentLive, place.0.n_index) / 8;
const SEALED_END: usize = offset_of!(SegmentLive, place.0.sealed_end) / 8;
const N_RECORDS: usize = offset_of!(SegmentLive, place.0.n_records) / 8;
const FIRST_NS: usize = offset_of!(SegmentLive, place.0.first_ns) / 8;
const LAST_NS: usize = offset_of!(SegmentLive, place.0.last_ns) / 8;
const INDEX_CRC: usize = offset_of!(SegmentLive, place.0.index_crc) / 8;
const SEAL_CRC: usize = offset_of!(SegmentLive, place.0.seal_crc) / 8;

/// A segment's file, mapped.
#[derive(Debug)]
pub(crate) struct SegmentView<M: Medium> {
    map: <M::File as MediumFile>::Map,
    header: SegmentHeader,
    key: Key,
    /// What of the file there is, at most what its header says.
    mapped_bytes: u64,
    /// Shares lock byte 2; let go of behind the map.
    _file: M::File,
}

/// Why a segment can't be read.
#[derive(Debug)]
pub(crate) enum Unseen {
    /// There is no such segment, or not any more.
    Gone,
    /// Its file is just being made of another.
    Taken,
    /// There is, and it is not what it must be.
    Bad(&'static str),
    /// The system refused.
    System { operation: &'static str, source: io::Error },
}

/// What the live page says at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Look {
    /// Where the segment stands.
    pub(crate) standing: Standing,
    /// The position of the first frame.
    pub(crate) base: u64,
    /// The position behind the last.
    pub(crate) end: u64,
}

/// See the table above.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Nobody has appended to it.
    Prepared,
    /// What does not check from `firm` on never reached the medium; all ones: everything below `end` is there.
    Active { firm: u64 },
    /// It was sealed in another boot, or a sync of it has failed: what that is worth, the manifest knows. Until then as an active one.
    Claimed { sealed: Sealed, firm: u64 },
    /// Nothing comes any more.
    Sealed(Sealed),
}

impl Standing {
    /// What does not check from there on never reached the medium; all ones: everything below the end is there.
    #[inline]
    pub(crate) fn firm(&self) -> u64 {
        match self {
            Self::Active { firm } | Self::Claimed { firm, .. } => *firm,
            Self::Prepared | Self::Sealed(_) => u64::MAX,
        }
    }

    /// Whether a power cut, or a sync that failed, may have taken of it what was there.
    pub(crate) fn may_be_torn(&self) -> bool {
        self.firm() != u64::MAX
    }
}

impl Look {
    /// The same, of a segment that the manifest calls sealed.
    pub(crate) fn vouched(self) -> Self {
        match self.standing {
            Standing::Claimed { sealed, .. } => Self { standing: Standing::Sealed(sealed), ..self },
            _ => self,
        }
    }
}

/// A frame that checked, without its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Framed {
    /// Where it is.
    pub(crate) position: u64,
    /// Its first word's fields.
    pub(crate) head: LogHead,
    /// Nanoseconds since the Unix epoch.
    pub(crate) timestamp_ns: u64,
    /// Sequence, level and kind.
    pub(crate) tags: u64,
}

impl Framed {
    /// Where the next one is.
    #[inline(always)]
    pub(crate) fn next(&self) -> u64 {
        self.position + self.head.span_bytes()
    }
}

/// The numbers of all segments that there are, the least first.
pub(crate) fn numbers<M: Medium>(medium: &M) -> io::Result<Vec<u64>> {
    let mut numbers: Vec<_> = medium
        .names()?
        .iter()
        .filter_map(|name| match Name::of(name) {
            Name::Segment(number) => Some(number),
            _ => None,
        })
        .collect();
    numbers.sort_unstable();
    Ok(numbers)
}

fn header_of(file: &impl MediumFile) -> Result<SegmentHeader, Unseen> {
    let mut bytes = [0; HEADER_BYTES];
    match file.read_at(&mut bytes, 0) {
        Ok(n) if n < HEADER_BYTES => Err(Unseen::Bad("its header is cut off")),
        Ok(_) => SegmentHeader::decode(&bytes).map_err(|_| Unseen::Bad("its header")),
        Err(source) => Err(Unseen::System { operation: "read the header of a segment", source }),
    }
}

/// The live page's words that say the same: of a segment whose own are damaged. An active one is suspect, so that nobody goes on in it.
pub(crate) fn live_words(look: &Look, uuid: &[u8; 16]) -> [u64; SEGMENT_LIVE_BYTES / 8] {
    let mut words = [0; SEGMENT_LIVE_BYTES / 8];
    (words[END], words[BASE]) = (look.end, look.base);
    match look.standing {
        Standing::Prepared => {}
        Standing::Active { firm } | Standing::Claimed { firm, .. } => {
            words[STATE] = ACTIVE;
            words[DURABLE] = firm.clamp(look.base, look.end);
            words[BOOT_ID..BOOT_ID + 2].copy_from_slice(&SUSPECT);
            words[IS_SUSPECT] = 1;
        }
        Standing::Sealed(sealed) => {
            words[STATE] = SEALED;
            words[DURABLE] = sealed.end;
            let Sealed { base, end, n_index, n_records, first_ns, last_ns, index_crc } = sealed;
            (words[BASE], words[SEALED_END], words[N_INDEX]) = (base, end, n_index);
            (words[N_RECORDS], words[FIRST_NS], words[LAST_NS]) = (n_records, first_ns, last_ns);
            (words[INDEX_CRC], words[SEAL_CRC]) = (index_crc.into(), sealed.crc(uuid).into());
        }
    }
    words
}

impl<M: Medium> SegmentView<M> {
    /// Maps the segment of that number.
    pub(crate) fn open(medium: &M, number: u64) -> Result<Self, Unseen> {
        Self::open_as(medium, number, None)
    }

    /// The same, of which page 0 is not believed but what is known from elsewhere.
    pub(crate) fn open_as(medium: &M, number: u64, known: Option<SegmentHeader>) -> Result<Self, Unseen> {
        let this = Self::open_named(medium, &names::segment(number), known)?;
        // Otherwise opened under its old name, locked when it had been used again.
        if this.header.number == number { Ok(this) } else { Err(Unseen::Gone) }
    }

    /// One that was set aside, and where it says that it begins; nobody writes it any more.
    pub(crate) fn open_aside(medium: &M, name: &str) -> Result<(Self, Look), Unseen> {
        let this = Self::open_named(medium, name, None)?;
        let look = this.look([0; 2]).map_err(Unseen::Bad)?;
        if look.standing == Standing::Prepared { Err(Unseen::Gone) } else { Ok((this, look)) }
    }

    /// The segment of that name, whatever its number is.
    pub(super) fn open_named(medium: &M, name: &str, known: Option<SegmentHeader>) -> Result<Self, Unseen> {
        let file = match medium.open(name, false) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(Unseen::Gone),
            Err(source) => return Err(Unseen::System { operation: "open a segment", source }),
        };
        Self::of_file(file, known)
    }

    /// Maps a segment's file that is open, and keeps it open.
    pub(super) fn of_file(file: M::File, known: Option<SegmentHeader>) -> Result<Self, Unseen> {
        let system = |operation| move |source| Unseen::System { operation, source };
        let file = file.join_readers().map_err(system("share a lock byte of a segment"))?;
        // Whoever has it alone uses it again.
        let file = file.ok_or(Unseen::Taken)?;
        let header = match known {
            Some(known) => known,
            None => header_of(&file)?,
        };
        let file_bytes = header.extent.file_bytes;
        let found_bytes = match file.opened_bytes() {
            // It was whole. One that was not may be another by now.
            Ok(bytes) if bytes >= file_bytes => file_bytes,
            _ => file.len_bytes().map_err(system("examine a segment"))?,
        };
        if found_bytes < header.extent.data_offset {
            return Err(Unseen::Bad("its first pages are cut off"));
        }
        let mapped_bytes = found_bytes.min(file_bytes);
        let map = file.map(mapped_bytes, false).map_err(system("map a segment"))?;
        Ok(Self { map, key: Key::of(&header.uuid), header, mapped_bytes, _file: file })
    }

    /// What page 0 says.
    pub(crate) fn header(&self) -> &SegmentHeader {
        &self.header
    }

    /// What makes its checksums.
    pub(super) fn key(&self) -> Key {
        self.key
    }

    /// The map.
    pub(crate) fn map(&self) -> &<M::File as MediumFile>::Map {
        &self.map
    }

    /// Where a position is in the file.
    #[inline(always)]
    pub(super) fn offset_of(&self, base: u64, position: u64) -> u64 {
        self.header.extent.data_offset + (position - base)
    }

    /// All bytes of frames below `end`, as far as the file has them; `end` was seen, and is not below `base`.
    #[inline(always)]
    pub(crate) fn frames(&self, base: u64, end: u64) -> &[u8] {
        let data_offset = self.header.extent.data_offset;
        let len_bytes = (end - base).min(self.mapped_bytes - data_offset);
        // SAFETY: not written: the appender writes at and behind `end` only; the file is not used again while lock byte 2 is shared (I1)
        // (trusts peers: crate docs, Trust).
        unsafe { self.map.bytes(data_offset, usize::try_from(len_bytes).unwrap_or(usize::MAX)) }
    }

    /// Bytes of the file that are missing.
    pub(crate) fn cut_bytes(&self) -> u64 {
        self.header.extent.file_bytes - self.mapped_bytes
    }

    /// Whether an access met a page that the file has lost.
    #[inline(always)]
    pub(crate) fn was_hit(&self) -> bool {
        self.map.was_hit()
    }

    /// Where the segment stands now, seen in that boot; an error names what can't be.
    pub(crate) fn look(&self, boot_id: [u64; 2]) -> Result<Look, &'static str> {
        let live = self.live();
        // ORDER none (Relaxed): what stands behind an acquired state does not change any more, or checks itself.
        let load = |at: usize| live[at].load(Ordering::Relaxed);
        // ORDER S4 (Acquire, pairs with S3): base, boot id and seal are those that the state vouches for.
        match live[STATE].load(Ordering::Acquire) {
            PREPARED => Ok(Look { standing: Standing::Prepared, base: 0, end: 0 }),
            ACTIVE => {
                let base = load(BASE);
                let end = self.plausible(base, self.end())?;
                let firm = self.firm(boot_id, base, end);
                Ok(Look { standing: Standing::Active { firm }, base, end })
            }
            SEALED => {
                let index_crc = u32::try_from(load(INDEX_CRC)).map_err(|_| "its seal")?;
                let sealed = Sealed {
                    base: load(BASE),
                    end: load(SEALED_END),
                    n_index: load(N_INDEX),
                    n_records: load(N_RECORDS),
                    first_ns: load(FIRST_NS),
                    last_ns: load(LAST_NS),
                    index_crc,
                };
                if load(SEAL_CRC) != u64::from(sealed.crc(&self.header.uuid)) {
                    return Err("its seal");
                }
                let look = self.as_sealed(sealed)?;
                match self.firm(boot_id, look.base, look.end) {
                    u64::MAX => Ok(look),
                    firm => Ok(Look { standing: Standing::Claimed { sealed, firm }, ..look }),
                }
            }
            _ => Err("its state"),
        }
    }

    /// Whether memory is what was written, and the medium may have it all, by the id of this boot.
    pub(crate) fn is_of_boot(&self, boot_id: [u64; 2]) -> bool {
        // ORDER none (Relaxed): the load of the state (S4) came first.
        let load = |at: usize| self.live()[at].load(Ordering::Relaxed);
        load(IS_SUSPECT) == 0 && is_known_boot([load(BOOT_ID), load(BOOT_ID + 1)], boot_id)
    }

    /// Up to where frames of `base..end` are on the medium for sure; all ones: memory is what was written.
    fn firm(&self, boot_id: [u64; 2], base: u64, end: u64) -> u64 {
        if self.is_of_boot(boot_id) {
            return u64::MAX;
        }
        Some(self.durable()).filter(|durable| (base..=end).contains(durable)).unwrap_or(base)
    }

    /// What a seal says that comes from elsewhere.
    pub(crate) fn as_sealed(&self, sealed: Sealed) -> Result<Look, &'static str> {
        let end = self.plausible(sealed.base, sealed.end)?;
        Ok(Look { standing: Standing::Sealed(sealed), base: sealed.base, end })
    }

    /// The position below which all frames of an active segment are published.
    #[inline(always)]
    fn end(&self) -> u64 {
        // ORDER S2 (Acquire, pairs with S1): all frames in front of that position are whole.
        self.live()[END].load(Ordering::Acquire)
    }

    /// The frame at `position`, whose payload has been compared with its checksum; an error says what is wrong there.
    #[inline(always)]
    pub(crate) fn frame(&self, base: u64, position: u64, end: u64) -> Result<Framed, &'static str> {
        let room = end - position;
        let offset = self.header.extent.data_offset + (position - base);
        if room < LOG_PAYLOAD_OFFSET {
            return Err("a frame's header reaches beyond the end");
        }
        if offset + LOG_PAYLOAD_OFFSET > self.mapped_bytes {
            return Err("the file is shorter than it says");
        }
        let words = self.map.words(offset, 4);
        // ORDER none (Relaxed): the load of `end` (S2), or of the state (S4), came first.
        let [w0, w1, timestamp_ns, tags] = [0, 1, 2, 3].map(|at| words[at].load(Ordering::Relaxed));
        let Some(head) = LogHead::decode(w0, position) else { return Err("no frame begins here") };
        if head.span_bytes() > room {
            return Err("a frame's length reaches beyond the end");
        }
        // Zeros pass for none: a stamp is of the segment and the position.
        if !self.key.is_stamped(position, w1) {
            return Err("a frame's stamp");
        }
        if offset + head.span_bytes() > self.mapped_bytes {
            return Err("the file is shorter than it says");
        }
        let framed = Framed { position, head, timestamp_ns, tags };
        let covered = Covered { position, w0, timestamp_ns, tags };
        if !self.key.is_sealed(w1, &covered, self.payload(base, &framed)) {
            return Err("a frame's checksum");
        }
        Ok(framed)
    }

    /// The payload of a frame that begins there, or seems to, below the end that was seen.
    #[inline(always)]
    pub(crate) fn payload(&self, base: u64, framed: &Framed) -> &[u8] {
        let offset = self.header.extent.data_offset + (framed.position - base) + LOG_PAYLOAD_OFFSET;
        // SAFETY: not written: the appender writes at and behind `end` only, and the frame is below the `end` that was seen; the file is not
        // used again while lock byte 2 is shared (I1) (trusts peers: crate docs, Trust).
        unsafe { self.map.bytes(offset, framed.head.len_bytes as usize) }
    }

    /// The next frame at or behind `from` that checks.
    pub(crate) fn next_sound(&self, base: u64, from: u64, end: u64) -> Option<Framed> {
        let data_offset = self.header.extent.data_offset;
        let there = base + self.mapped_bytes.saturating_sub(data_offset);
        let last = end.min(there).checked_sub(LOG_PAYLOAD_OFFSET)?;
        let mut position = from.next_multiple_of(FRAME_ALIGN);
        while position <= last {
            // ORDER none (Relaxed): as in `frame`.
            let w1 = self.map.words(data_offset + (position - base), 2)[1].load(Ordering::Relaxed);
            if self.key.is_stamped(position, w1) {
                if let Ok(framed) = self.frame(base, position, end) {
                    return Some(framed);
                }
            }
            position += FRAME_ALIGN;
        }
        None
    }

    /// The watermark, as it is.
    pub(crate) fn durable(&self) -> u64 {
        // ORDER none (Relaxed): a number, behind which nothing is read.
        self.live()[DURABLE].load(Ordering::Relaxed)
    }

    /// The last who appended; display only.
    pub(crate) fn writer_pid(&self) -> u32 {
        // ORDER none (Relaxed): display only.
        u32::try_from(self.live()[WRITER_PID].load(Ordering::Relaxed)).unwrap_or(0)
    }

    /// The entries of the index that are whole, or as many of them as there can be.
    pub(crate) fn n_index(&self, look: &Look) -> u64 {
        let n = match look.standing {
            Standing::Prepared => 0,
            Standing::Sealed(sealed) | Standing::Claimed { sealed, .. } => sealed.n_index,
            // ORDER S6 (Acquire, pairs with S5): the entries below it are whole.
            Standing::Active { .. } => self.live()[N_INDEX].load(Ordering::Acquire),
        };
        n.min(self.header.extent.n_index_max())
    }

    /// An entry of the index.
    pub(crate) fn index(&self, at: u64) -> IndexEntry {
        let words = self.map.words(self.header.extent.index_offset + at * INDEX_ENTRY_BYTES, 2);
        // ORDER none (Relaxed): the load of their number came first.
        let [last_ns, position] = [0, 1].map(|at| words[at].load(Ordering::Relaxed));
        IndexEntry { last_ns, position }
    }

    /// The checksum of so many entries of the index.
    pub(crate) fn index_crc(&self, n_index: u64) -> u32 {
        index_crc((0..n_index).map(|at| self.index(at)))
    }

    /// A frame's position from which a walk may begin: behind all that the last entry of which `is_before` holds has in front of it; the
    /// segment's base where the index can't be used. Never behind what may be torn.
    pub(crate) fn start_by_index(&self, look: &Look, is_before: impl Fn(IndexEntry) -> bool) -> u64 {
        self.entry_by_index(look, is_before).map_or(look.base, |entry| entry.position)
    }

    /// That entry, if the index can be used.
    pub(crate) fn entry_by_index(
        &self,
        look: &Look,
        is_before: impl Fn(IndexEntry) -> bool,
    ) -> Option<IndexEntry> {
        let n_index = self.n_index(look);
        if let Standing::Sealed(sealed) = look.standing {
            if sealed.index_crc != self.index_crc(n_index) {
                return None;
            }
        }
        let firm = look.standing.firm();
        let (mut low, mut high) = (0, n_index);
        while low < high {
            let middle = low + (high - low) / 2;
            let entry = self.index(middle);
            if entry.position <= firm && is_before(entry) { low = middle + 1 } else { high = middle }
        }
        let entry = self.index(low.checked_sub(1)?);
        let position = entry.position;
        let is_inside = is_log_boundary(position) && (look.base..look.end).contains(&position);
        (is_inside && self.frame(look.base, position, look.end).is_ok()).then_some(entry)
    }

    /// `end`, if it can be the end of frames that begin at `base`.
    fn plausible(&self, base: u64, end: u64) -> Result<u64, &'static str> {
        let data_bytes = self.header.extent.data_bytes;
        if !is_log_boundary(base) || base > POSITION_END - data_bytes {
            return Err("its first position");
        }
        if end % FRAME_ALIGN != 0 || !(base..=base + data_bytes).contains(&end) {
            return Err("its last position");
        }
        Ok(end)
    }

    #[inline(always)]
    fn live(&self) -> &[AtomicU64] {
        self.map.words(self.header.extent.live_offset, SEGMENT_LIVE_BYTES / 8)
    }
}
