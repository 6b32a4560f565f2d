use lock_core::{Label, LockId, StoreId};

/// The key that makes a prefix a store.
pub(crate) fn store(prefix: &str) -> String {
    format!("{prefix}/store")
}

/// The keys of a store. They contain its identity, so that a store that replaces it shares none of them.
#[derive(Clone, Debug)]
pub(crate) struct Keys {
    base: String,
}

impl Keys {
    pub(crate) fn new(prefix: &str, id: StoreId) -> Self {
        Self { base: format!("{prefix}/{:032x}", id.get()) }
    }

    /// The allocations, by id.
    pub(crate) fn allocations(&self) -> String {
        format!("{}/a/", self.base)
    }

    pub(crate) fn allocation(&self, id: LockId) -> String {
        numbered(&self.allocations(), id)
    }

    /// The ids that were freed, and are not allocated.
    pub(crate) fn all_freed(&self) -> String {
        format!("{}/f/", self.base)
    }

    pub(crate) fn freed(&self, id: LockId) -> String {
        numbered(&self.all_freed(), id)
    }

    /// The names.
    pub(crate) fn names(&self) -> String {
        format!("{}/n/", self.base)
    }

    pub(crate) fn name(&self, name: &Label) -> String {
        name.as_str().bytes().fold(self.names(), |key, byte| key + &format!("{byte:02x}"))
    }

    /// An id of which all lower ones were allocated once.
    pub(crate) fn next(&self) -> String {
        format!("{}/next", self.base)
    }

    /// The queues of all locks.
    pub(crate) fn queues(&self) -> String {
        format!("{}/q/", self.base)
    }

    /// The queue of a lock: the key of its owner, and those of the waiters in the order of their creation.
    pub(crate) fn queue(&self, id: LockId) -> String {
        format!("{}/", numbered(&self.queues(), id))
    }

    /// The records of owners.
    pub(crate) fn owners(&self) -> String {
        format!("{}/o/", self.base)
    }

    pub(crate) fn owner(&self, id: LockId) -> String {
        numbered(&self.owners(), id)
    }
}

/// The key of an id. Keys have the order of their ids.
pub(crate) fn numbered(prefix: &str, id: LockId) -> String {
    format!("{prefix}{:08x}", id.get())
}

/// Returns the key that follows all keys of the ids less than `end` and precedes those from it on.
pub(crate) fn numbered_end(prefix: &str, end: u64) -> String {
    match u32::try_from(end) {
        Ok(end) => numbered(prefix, LockId::new(end)),
        Err(_) => crate::client::prefix_end(prefix),
    }
}

/// Reads the id from a key with this prefix. What follows the id starts with a slash.
pub(crate) fn id_of(prefix: &str, key: &[u8]) -> Option<LockId> {
    let digits = key.strip_prefix(prefix.as_bytes())?.split(|byte| *byte == b'/').next()?;
    let digits = std::str::from_utf8(digits).ok().filter(|digits| digits.len() == 8)?;
    u32::from_str_radix(digits, 16).ok().map(LockId::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_from_its_keys() {
        let keys = Keys::new("/p", StoreId::new(7));
        let id = LockId::new(0xbeef);
        assert_eq!(id_of(&keys.allocations(), keys.allocation(id).as_bytes()), Some(id));
        assert_eq!(id_of(&keys.queues(), format!("{}x", keys.queue(id)).as_bytes()), Some(id));
        assert_eq!(id_of(&keys.owners(), b"/p/other"), None);
    }

    #[test]
    fn the_end_of_all_ids_is_the_end_of_the_prefix() {
        assert_eq!(numbered_end("/a/", 16), "/a/00000010");
        assert_eq!(numbered_end("/a/", 1 << 32), "/a0");
    }
}
