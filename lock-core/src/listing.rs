//! Iterators over a long list that a backend returns in parts.

use crate::{LockId, Result};

/// The number of items in a part.
pub(crate) const PAGE: usize = 1024;

/// Returns the items of all parts in ascending order of id.
///
/// `page` returns items from an id on, and none only at the end of the list.
pub(crate) fn iter<T: Send>(
    page: impl Fn(LockId) -> Result<Vec<T>> + Send,
    id: impl Fn(&T) -> LockId + Send,
) -> impl Iterator<Item = Result<T>> + Send {
    let mut next = Some(LockId::new(0));
    let mut items = Vec::new().into_iter();
    std::iter::from_fn(move || {
        if items.len() == 0 {
            match page(next.take()?) {
                Ok(page) => items = page.into_iter(),
                Err(error) => return Some(Err(error)),
            }
        }
        let item = items.next()?;
        next = id(&item).get().checked_add(1).map(LockId::new);
        Some(Ok(item))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Error;

    const LAST: u32 = u32::MAX;

    /// Returns at most two of these ids, or more.
    fn parts(ids: &[u32], limit: usize) -> impl Fn(LockId) -> Result<Vec<LockId>> + Send {
        move |from| Ok(ids.iter().copied().map(LockId::new).filter(|id| *id >= from).take(limit).collect())
    }

    #[test]
    fn each_item_is_returned_once() {
        for limit in [1, 2, 3, 100] {
            for ids in [&[][..], &[0], &[7, LAST], &[0, 1, 2, 3], &[1, 5, 9, 1000, LAST - 1, LAST]] {
                let all: Vec<_> = iter(parts(ids, limit), |id| *id).map(|id| id.unwrap().get()).collect();
                assert_eq!(all, ids, "{limit}");
            }
        }
    }

    #[test]
    fn an_error_ends_the_list() {
        let page = |from: LockId| if from.get() == 0 { Ok(vec![from]) } else { Err(Error::corrupt("an example")) };
        let results: Vec<_> = iter(page, |id| *id).map(|id| id.map(LockId::get).ok()).collect();
        assert_eq!(results, [Some(0), None]);
    }
}
