//! Repairs what killed commands left behind.

use lock_any::LockId;

use crate::Result;
use crate::engine::Engine;

pub(crate) fn run(engine: &mut Engine) -> Result<()> {
    ids(engine)?;
    containers(engine)
}

/// Makes the allocated ids equal to those of the database. This frees ids of killed commands, and allocates all ids again after a
/// reboot, which a store of `shm` does not survive.
fn ids(engine: &mut Engine) -> Result<()> {
    let locks = engine.locks.clone();
    // In a transaction, because another process allocates only in one.
    let transaction = engine.begin()?;
    let ids: Vec<u32> = {
        let mut rows = transaction.prepare("select lock from containers")?;
        rows.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?
    };
    let changes = locks.reconcile(ids.into_iter().map(LockId::new))?;
    transaction.commit()?;
    for id in changes.freed {
        eprintln!("engine: freed lock {id}, which no container has");
    }
    Ok(())
}

/// Removes containers that a killed command has half made or half removed.
fn containers(engine: &Engine) -> Result<()> {
    for container in engine.containers()?.into_iter().filter(|container| container.state != "ready") {
        let lock = engine.locks.retrieve(container.lock)?;
        // A lock that is held belongs to a command that still runs.
        let Some(mut guard) = lock.try_lock()? else { continue };
        if let Some(death) = guard.recovered() {
            eprintln!("engine: {death}");
            guard.mark_consistent()?;
        }
        if engine.state(&container.name)?.is_some_and(|state| state != "ready") {
            engine.delete(&container.name, &lock)?;
            eprintln!("engine: removed {}, which was left {}", container.name, container.state);
        }
    }
    Ok(())
}
