/// The state of a thread, as the kernel names it in `/proc/PID/stat`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum State {
    /// It runs, or waits for a processor.
    Running,
    /// It sleeps.
    Sleeping,
    /// It sleeps and cannot be interrupted, mostly in input or output.
    Uninterruptible,
    /// A signal or a debugger has stopped it.
    Stopped,
    /// It has ended.
    Ended,
}
