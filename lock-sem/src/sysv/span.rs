use lock_core::LockId;

/// Number of ids that share a set.
pub(crate) const IDS: u32 = 1024;

/// A bit in the number of a span: its ids exist since the store has grown.
///
/// The numbers of all spans without it are below.
const GROWN: u32 = 1 << 22;

/// The ids of a run, which depend on the capacity at the creation of the store and never change.
///
/// A span has 1,024 ids. A capacity that is not a multiple of 1,024 ends a span early, because a small store should need a small set. A
/// set cannot become larger. So if such a store grows, the rest of the 1,024 ids is a separate span.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Span {
    /// A number that no other span of the store has.
    pub(crate) number: u32,
    pub(crate) first: LockId,
    pub(crate) locks: u16,
}

impl Span {
    /// Returns the span of an id. `created` is the number of ids at the creation of the store.
    pub(crate) fn of(id: LockId, created: u64) -> Self {
        let number = id.get() / IDS;
        let start = u64::from(number) * u64::from(IDS);
        let end = start + u64::from(IDS);
        let (number, start, end) = match created {
            _ if !(start + 1..end).contains(&created) => (number, start, end),
            _ if u64::from(id.get()) < created => (number, start, created),
            _ => (number | GROWN, created, end),
        };
        Self { number, first: LockId::new(start as u32), locks: (end - start) as u16 }
    }

    /// Returns a multiple of 1,024: the first id of the span with this number, or of the span before it if its ids exist since the store
    /// has grown.
    pub(crate) fn start_of(number: u32) -> LockId {
        LockId::new((number & !GROWN) * IDS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spans(created: u64, ids: std::ops::Range<u32>) -> Vec<(u32, u32, u16)> {
        let mut spans: Vec<_> = ids.map(|id| Span::of(LockId::new(id), created)).collect();
        spans.dedup();
        spans.into_iter().map(|span| (span.number, span.first.get(), span.locks)).collect()
    }

    #[test]
    fn the_spans_of_a_store_that_does_not_grow_end_at_the_capacity() {
        assert_eq!(spans(4, 0..4), [(0, 0, 4)]);
        assert_eq!(spans(1024, 0..1024), [(0, 0, 1024)]);
        assert_eq!(spans(1500, 0..1500), [(0, 0, 1024), (1, 1024, 476)]);
        assert_eq!(spans(1 << 32, u32::MAX - 1..u32::MAX), [((1 << 22) - 1, u32::MAX - 1023, 1024)]);
    }

    #[test]
    fn a_store_that_has_grown_keeps_its_spans() {
        assert_eq!(spans(4, 0..3000), [(0, 0, 4), (GROWN, 4, 1020), (1, 1024, 1024), (2, 2048, 1024)]);
        assert_eq!(spans(1024, 0..2048), [(0, 0, 1024), (1, 1024, 1024)]);
        assert_eq!(spans(1500, 1400..2049), [(1, 1024, 476), (GROWN | 1, 1500, 548), (2, 2048, 1024)]);
        assert_eq!(Span::start_of(GROWN | 1).get(), 1024);
    }
}
