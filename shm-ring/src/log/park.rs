//! Park: a walk that lets go of its segment, and goes on in it later; and one through a single segment.
//!
//! ```text
//!   in a segment --park--> parked: number and uuid, position, end --attach--> in the same segment, at the same frame
//!                                                                \-- it is gone, or another one: as behind the segment before
//! ```
//!
//! (I1) a walk that was parked tells the same as one that was not, but what retention takes meanwhile is a gap from the position on; (I2)
//! nothing is read again to find the place.

use super::chart::Chart;
use super::item::LogReadError;
use super::run::Run;
use super::view::{Look, SegmentView, Standing, Unseen};
use super::walk::{Walk, damaged};
use crate::layout::frame::FRAME_ALIGN;
use crate::layout::segment::Key;
use crate::map::medium::Medium;
use std::sync::Arc;

/// Why a segment can't be walked through alone.
#[derive(Debug)]
pub(crate) enum NotAlone {
    /// It can't be read.
    Unseen(Unseen),
    /// Somebody may append to it.
    NotSealed,
}

impl<M: Medium> Walk<M> {
    /// A walk through one sealed segment, whose file is open under that name, and through no other.
    pub(crate) fn alone(
        medium: Arc<M>,
        file: M::File,
        name: &str,
        boot_id: [u64; 2],
    ) -> Result<Self, NotAlone> {
        let segment = SegmentView::<M>::of_file(file, None).map_err(NotAlone::Unseen)?;
        let mut this = Self::new(medium, segment.header().log_uuid, boot_id);
        this.alone = Some(name.into());
        match this.look(&segment) {
            Ok(look @ Look { standing: Standing::Sealed(_), .. }) => {
                this.settle(segment, &look, look.base);
                Ok(this)
            }
            Ok(_) => Err(NotAlone::NotSealed),
            Err(LogReadError::Damaged { what, .. }) => Err(NotAlone::Unseen(Unseen::Bad(what))),
            Err(LogReadError::System { operation, errno }) => {
                let source = std::io::Error::from_raw_os_error(errno);
                Err(NotAlone::Unseen(Unseen::System { operation, source }))
            }
            Err(_) => Err(NotAlone::Unseen(Unseen::Gone)),
        }
    }

    /// Goes to the oldest frame, by a manifest that was just read, without a list of the directory where it has the segment.
    pub(crate) fn begin_at_oldest(&mut self, chart: &Chart) -> Result<(), LogReadError> {
        self.leave(0, 0);
        let Some(first) = chart.state().entries.first() else { return Ok(()) };
        match self.open(first.number) {
            Ok(Some((segment, look))) if look.standing != Standing::Prepared => {
                self.settle(segment, &look, look.base);
                Ok(())
            }
            Ok(Some(_)) => {
                self.is_jump_told = first.number != 1;
                Ok(())
            }
            Err(error @ LogReadError::System { .. }) => Err(error),
            _ => self.seek(super::seek::LogStart::Oldest),
        }
    }

    /// The name of the one segment that it goes through, if it is only one.
    pub(crate) fn name_alone(&self) -> Option<&str> {
        self.alone.as_deref()
    }

    /// Where its files are.
    pub(crate) fn medium(&self) -> &M {
        &self.medium
    }

    /// The segment that is mapped.
    #[inline(always)]
    pub(crate) fn segment(&self) -> Option<&SegmentView<M>> {
        self.segment.as_ref()
    }

    /// The number of the segment that is mapped, or parked.
    pub(crate) fn number(&self) -> Option<u64> {
        self.segment.as_ref().map(|segment| segment.header().number).or(self.parked.map(|(number, _)| number))
    }

    /// The mapped segment's frames, as far as they were seen.
    #[inline(always)]
    pub(crate) fn frames(&self) -> &[u8] {
        self.segment.as_ref().map_or(&[], |segment| segment.frames(self.base, self.end))
    }

    /// The rest of them.
    #[inline(always)]
    pub(crate) fn run(&self) -> Option<Run<'_>> {
        let segment = self.segment.as_ref()?;
        Some(Run::new(segment.key(), self.base, segment.frames(self.base, self.end), self.position))
    }

    /// What makes the mapped segment's checksums, and where its first frame is.
    pub(crate) fn key(&self) -> Option<(Key, u64)> {
        Some((self.segment.as_ref()?.key(), self.base))
    }

    /// Where in the mapped segment's file the next frame is, and where those end that were seen.
    pub(crate) fn offsets(&self) -> Option<(u64, u64)> {
        let segment = self.segment.as_ref()?;
        Some((
            segment.offset_of(self.base, self.position.min(self.end)),
            segment.offset_of(self.base, self.end),
        ))
    }

    /// Where the next frame is.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// Where the frames end that were seen.
    pub(crate) fn end(&self) -> u64 {
        self.end
    }

    /// What is in front of that position has been read, from the bytes of [`frames`](Self::frames) or copies of them.
    pub(crate) fn go_on_at(&mut self, position: u64) {
        assert!(
            position >= self.position && position <= self.end.next_multiple_of(FRAME_ALIGN),
            "behind what was seen"
        );
        self.position = position;
    }

    /// Lets go of the segment.
    pub(crate) fn park(&mut self) {
        if let Some(segment) = self.segment.take() {
            let header = segment.header();
            self.parked = Some((header.number, header.uuid));
        }
    }

    /// Maps the segment again that it was parked in; does nothing where it was not. A lone segment that is gone is an error.
    pub(crate) fn attach(&mut self) -> Result<(), LogReadError> {
        let Some((number, uuid)) = self.parked else { return Ok(()) };
        match self.open(number)? {
            Some((segment, look)) if segment.header().uuid == uuid && look.standing != Standing::Prepared => {
                if self.position > look.end {
                    return Err(damaged(number, look.end, "what was read behind it is not in it any more"));
                }
                (self.base, self.end) = (look.base, look.end);
                self.is_final = matches!(look.standing, Standing::Sealed(_));
                self.segment = Some(segment);
            }
            // There is nothing behind it.
            _ if self.alone.is_some() => {
                return Err(damaged(number, self.position, "its file is missing, or another one"));
            }
            _ => (self.behind, self.is_jump_told) = (number - 1, false),
        }
        self.parked = None;
        Ok(())
    }
}
