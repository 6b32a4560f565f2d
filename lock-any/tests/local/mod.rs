/// The backends of this machine. The others need a server.
pub(crate) fn backends() -> Vec<lock_any::Backend> {
    let all = lock_any::backends().unwrap().into_iter();
    all.filter(|backend| backend.capabilities().exclusion == lock_any::Exclusion::Always).collect()
}
