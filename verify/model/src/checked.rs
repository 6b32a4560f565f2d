//! The checked code: unchanged source files of `lock-table` and `lock-shm`.
//!
//! Their `crate::…` paths resolve to modules of this crate. The modules `sys` and `table::slot` include further checked files.

#[path = "lock-table/allocation.rs"]
pub(crate) mod allocation;
#[path = "lock-table/bitmap.rs"]
pub(crate) mod bitmap;
#[path = "lock-shm/lock.rs"]
pub(crate) mod lock;
#[path = "lock-table/lock_line.rs"]
pub(crate) mod lock_line;
#[path = "lock-table/owner.rs"]
pub(crate) mod owner;
#[path = "lock-table/record.rs"]
pub(crate) mod record;
#[path = "lock-shm/recovery.rs"]
pub(crate) mod recovery;
#[path = "lock-shm/robust.rs"]
pub(crate) mod robust;
#[path = "lock-shm/starvation.rs"]
pub(crate) mod starvation;
#[path = "lock-shm/wait.rs"]
pub(crate) mod wait;
