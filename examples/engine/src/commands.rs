//! The commands.

use std::fs;
use std::time::Duration;

use crate::Result;
use crate::engine::{Engine, step};

pub(crate) fn create(engine: &mut Engine, name: &str) -> Result<()> {
    let locks = engine.locks.clone();
    let transaction = engine.begin()?;
    // A kill before the commit leaves an allocated id without a row. The next command frees it.
    let lock = locks.allocate(name)?;
    step("allocated");
    // The lock is held before another process can see the row.
    let guard = lock.lock()?;
    let id = lock.id().get();
    transaction.execute("insert into containers values (?1, ?2, 'creating')", (name, id))?;
    step("inserted");
    transaction.commit()?;
    step("committed");
    // A kill from here on leaves the state `creating`, and the next command removes the container.
    fs::create_dir(engine.path(name))?;
    step("directory-made");
    engine.set_state(name, "ready")?;
    step("ready");
    guard.unlock()?;
    println!("created {name} with lock {id}");
    Ok(())
}

pub(crate) fn remove(engine: &mut Engine, name: &str) -> Result<()> {
    let container = engine.containers()?.into_iter().find(|container| container.name == name);
    let container = container.ok_or_else(|| format!("there is no container {name}"))?;
    let lock = engine.locks.retrieve(container.lock)?;
    let mut guard = lock.try_lock_for(Duration::from_secs(10))?;
    if guard.recovered().is_some() {
        // The states in the database say how far the owner came, so there is nothing else to repair.
        guard.mark_consistent()?;
    }
    if engine.state(name)?.is_none() {
        return Err(format!("another process has removed {name}").into());
    }
    engine.set_state(name, "removing")?;
    step("removing");
    engine.delete(name, &lock)?;
    println!("removed {name}");
    Ok(())
}

pub(crate) fn list(engine: &Engine) -> Result<()> {
    for container in engine.containers()? {
        println!("{} {} {}", container.name, container.lock, container.state);
    }
    Ok(())
}
