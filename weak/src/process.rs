//! The clock and the process id of the copies. The clock stands still, because Miri has none without the machine's.

pub(crate) use std::time::Duration;

pub(crate) fn id() -> u32 {
    1
}

pub(crate) const UNIX_EPOCH: () = ();

#[derive(Debug)]
pub(crate) struct SystemTime;

impl SystemTime {
    pub(crate) fn now() -> Self {
        Self
    }

    pub(crate) fn duration_since(&self, (): ()) -> Result<Duration, ()> {
        let _ = self;
        Ok(Duration::from_secs(1))
    }
}
