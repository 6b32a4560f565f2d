//! A model of a store: the contract as plain data, without any lock.

use std::collections::BTreeSet;

/// The index of a thread.
pub(crate) type ThreadIndex = usize;

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Owner {
    #[default]
    None,
    Alive(ThreadIndex),
    Died,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Outcome {
    Held { recovered: bool },
    Busy,
    AlreadyHeld,
}

#[derive(Debug, Default)]
pub(crate) struct LockState {
    pub(crate) label: Option<String>,
    pub(crate) is_named: bool,
    pub(crate) is_temporary: bool,
    pub(crate) generation: u64,
    pub(crate) owner: Owner,
    pub(crate) token: u64,
}

#[derive(Debug)]
pub(crate) struct Model(Vec<LockState>);

type Refused = &'static str;

impl Model {
    pub(crate) fn new(capacity: u32) -> Self {
        Self((0..capacity).map(|_| LockState::default()).collect())
    }

    pub(crate) fn one(&mut self, id: u32) -> &mut LockState {
        &mut self.0[id as usize]
    }

    pub(crate) fn capacity(&self) -> u32 {
        self.0.len() as u32
    }

    pub(crate) fn allocate(&mut self, label: &str) -> Result<u32, Refused> {
        is_label(label)?;
        let free = (0..self.capacity()).find(|id| self.0[*id as usize].label.is_none()).ok_or("Exhausted")?;
        self.allocate_exact(free, label)
    }

    pub(crate) fn allocate_temporary(&mut self, label: &str) -> Result<u32, Refused> {
        let id = self.allocate(label)?;
        self.one(id).is_temporary = true;
        Ok(id)
    }

    /// Raises the capacity.
    pub(crate) fn grow(&mut self, capacity: u32) -> Result<(), Refused> {
        if capacity < self.capacity() {
            return Err("OtherCapacity");
        }
        self.0.resize_with(capacity as usize, LockState::default);
        Ok(())
    }

    pub(crate) fn allocate_exact(&mut self, id: u32, label: &str) -> Result<u32, Refused> {
        is_label(label)?;
        let one = self.0.get_mut(id as usize).ok_or("OutOfRange")?;
        if one.label.is_some() {
            return Err("AlreadyAllocated");
        }
        one.label = Some(label.to_owned());
        one.is_named = false;
        one.is_temporary = false;
        one.generation += 1;
        Ok(id)
    }

    /// Finds or allocates a name. All ids are in one group, so a name gets the lowest free one.
    pub(crate) fn named(&mut self, name: &str) -> Result<u32, Refused> {
        is_label(name)?;
        if name.is_empty() {
            return Err("BadLabel");
        }
        let is_found = |one: &LockState| one.is_named && one.label.as_deref() == Some(name);
        if let Some(id) = self.0.iter().position(is_found) {
            return Ok(id as u32);
        }
        let id = self.allocate(name)?;
        self.one(id).is_named = true;
        Ok(id)
    }

    pub(crate) fn free(&mut self, id: u32, generation: Option<u64>) -> Result<(), Refused> {
        let one = self.0.get_mut(id as usize).ok_or("OutOfRange")?;
        if one.label.is_none() {
            return Err("NotAllocated");
        }
        if generation.is_some_and(|generation| generation != one.generation) {
            return Err("Stale");
        }
        one.label = None;
        Ok(())
    }

    pub(crate) fn free_all(&mut self) -> u64 {
        self.0.iter_mut().filter_map(|one| one.label.take()).count() as u64
    }

    /// Allocates the given ids and frees all others. Returns the allocated and the freed ones.
    pub(crate) fn reconcile(&mut self, ids: &BTreeSet<u32>) -> Result<(Vec<u32>, Vec<u32>), Refused> {
        if ids.iter().any(|id| *id >= self.capacity()) {
            return Err("OutOfRange");
        }
        let freed = (0..self.capacity()).filter(|id| !ids.contains(id) && self.free(*id, None).is_ok()).collect();
        let claimed = ids.iter().copied().filter(|id| self.allocate_exact(*id, "").is_ok()).collect();
        Ok((claimed, freed))
    }

    pub(crate) fn retrieve(&self, id: u32) -> Result<u32, Refused> {
        if id < self.capacity() { Ok(id) } else { Err("OutOfRange") }
    }

    pub(crate) fn acquire(&mut self, thread: ThreadIndex, id: u32) -> Outcome {
        let one = self.one(id);
        match one.owner {
            Owner::Alive(owner) if owner == thread => Outcome::AlreadyHeld,
            Owner::Alive(_) => Outcome::Busy,
            before => {
                one.owner = Owner::Alive(thread);
                Outcome::Held { recovered: before == Owner::Died }
            }
        }
    }

    /// Returns the id, the label, whether it is a name, whether it is temporary, and the generation of each allocation.
    pub(crate) fn allocated(&self) -> Vec<(u32, String, [bool; 2], u64)> {
        let all = (0..).zip(&self.0);
        all.filter_map(|(id, one)| Some((id, one.label.clone()?, [one.is_named, one.is_temporary], one.generation))).collect()
    }

    pub(crate) fn with_owner(&self, wanted: impl Fn(Owner) -> bool) -> Vec<u32> {
        (0..).zip(&self.0).filter(|(_, one)| wanted(one.owner)).map(|(id, _)| id).collect()
    }
}

fn is_label(label: &str) -> Result<(), Refused> {
    if label.len() > 64 || label.contains('\n') { Err("BadLabel") } else { Ok(()) }
}
