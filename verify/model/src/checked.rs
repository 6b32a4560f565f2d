//! The checked code: unchanged source files of `lock-table` and `lock-shm`.
//!
//! Their `crate::…` paths resolve to modules of this crate. The modules `sys` and `table::slot` include further checked files.

#[path = "../../../lock-table/src/allocation.rs"]
pub(crate) mod allocation;
#[path = "../../../lock-table/src/bitmap.rs"]
pub(crate) mod bitmap;
#[path = "../../../lock-shm/src/lock.rs"]
pub(crate) mod lock;
#[path = "../../../lock-table/src/lock_line.rs"]
pub(crate) mod lock_line;
#[path = "../../../lock-table/src/owner.rs"]
pub(crate) mod owner;
#[path = "../../../lock-table/src/record.rs"]
pub(crate) mod record;
#[path = "../../../lock-shm/src/recovery.rs"]
pub(crate) mod recovery;
#[path = "../../../lock-shm/src/robust.rs"]
pub(crate) mod robust;
#[path = "../../../lock-shm/src/wait.rs"]
pub(crate) mod wait;
