//! Scans of the lines of a segment.

use std::ops::{ControlFlow, Range};
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use super::Segment;
use crate::layout::{GROUP, GROUP_WORDS, LINE_WORDS};
use crate::lock_line::LockLine;
use crate::owner::Owner;
use crate::sys;

/// What a scan does with the pages that it has read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Pages {
    /// They stay mapped, so that the next scan is fast.
    Keep,
    /// They are unmapped, so that a scan of a large table takes little memory.
    Unmap,
}

impl Pages {
    /// Returns the choice for a list of at most this many items: a caller that reads a list in parts wants to save memory.
    pub(crate) fn of_list(limit: usize) -> Self {
        if limit == usize::MAX { Self::Keep } else { Self::Unmap }
    }
}

/// The number of groups whose pages are unmapped at a time: 768 KiB.
const UNMAPPED_TOGETHER: usize = 64;

impl Segment {
    /// Calls `each` with the index and the line of each id at or after `from` whose group is backed by blocks, until it breaks.
    ///
    /// All other lines were never locked.
    pub(crate) fn backed_lines(
        &self,
        from: usize,
        pages: Pages,
        mut each: impl FnMut(usize, &LockLine) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        self.groups(from, pages, |first, next| self.lines(first.max(from), next, &mut each))
    }

    /// Calls `each` with the index, the line and the owner of each id that [`Segment::backed_lines`] finds and that has a recorded owner.
    pub(crate) fn owned_lines(
        &self,
        from: usize,
        pages: Pages,
        mut each: impl FnMut(usize, &LockLine, Owner) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        self.groups(from, pages, |first, next| {
            // Few groups have an owner. This loop has so few instructions that it is as fast as the memory.
            if self.has_no_owner(first, next) {
                return ControlFlow::Continue(());
            }
            self.lines(first.max(from), first, |index, line| match line.owner() {
                owner if owner.is_none() => ControlFlow::Continue(()),
                owner => each(index, line, owner),
            })
        })
    }

    /// Calls `each` with the first index of each group from that of `from` on that is backed by blocks, and with that of the group after it.
    fn groups(&self, from: usize, pages: Pages, mut each: impl FnMut(usize, usize) -> ControlFlow<()>) -> ControlFlow<()> {
        let mut unmapped = from / GROUP;
        let mut groups = self.backed_groups(from / GROUP).peekable();
        while let Some(group) = groups.next() {
            if pages == Pages::Unmap && group - unmapped >= UNMAPPED_TOGETHER {
                self.unmap_groups(unmapped..group);
                unmapped = group;
            }
            each(group * GROUP, groups.peek().unwrap_or(&group) * GROUP)?;
        }
        ControlFlow::Continue(())
    }

    /// Calls `each` with each line of a group from `first` on, and prefetches those of the group of `next`.
    fn lines(&self, first: usize, next: usize, mut each: impl FnMut(usize, &LockLine) -> ControlFlow<()>) -> ControlFlow<()> {
        let lines = self.lines_of(first).zip(self.lines_of(next)).enumerate().skip(first % GROUP);
        lines.take(self.bits() - first).try_for_each(|(at, (line, next))| {
            sys::prefetch(&next[0]);
            each(first / GROUP * GROUP + at, sys::line(line))
        })
    }

    /// Returns true if no line of a group has an owner. Prefetches the lines of the group of `next`.
    fn has_no_owner(&self, first: usize, next: usize) -> bool {
        let owners = self.lines_of(first).zip(self.lines_of(next)).fold(0, |owners, (line, next)| {
            // The records between the lines of two groups stop the prefetcher of the processor.
            sys::prefetch(&next[0]);
            owners | sys::line(line).owner.load(Relaxed)
        });
        Owner::from_word(owners).is_none()
    }

    /// Returns the words of the lines of the group of an id.
    fn lines_of(&self, index: usize) -> impl Iterator<Item = &[AtomicU64]> {
        self.group(index)[..GROUP * LINE_WORDS].chunks_exact(LINE_WORDS)
    }

    /// Unmaps the pages of these ids, which were read for a list of at most this many items, if [`Pages::of_list`] says so.
    pub(crate) fn unmap_read(&self, indexes: Range<usize>, limit: usize) {
        if Pages::of_list(limit) == Pages::Unmap {
            self.unmap_groups(indexes.start / GROUP..indexes.end.div_ceil(GROUP));
        }
    }

    /// Unmaps the pages of these groups from memory, except of those in which this process has handles.
    fn unmap_groups(&self, groups: Range<usize>) {
        // An access to a page maps its neighbours, too, so that earlier groups may be mapped again.
        let mut from = groups.start.saturating_sub(UNMAPPED_TOGETHER);
        let end = groups.end.min(self.geometry.groups());
        let kept = self.touched.iter().skip_while(|group| *group < from).take_while(|group| *group < end);
        for kept in kept.collect::<Vec<_>>().into_iter().chain([end]) {
            if from < kept {
                self.words.unmap_pages(self.words_before + from * GROUP_WORDS..self.words_before + kept * GROUP_WORDS);
            }
            from = kept + 1;
        }
    }
}
