//! `fd`: locks the open file of a descriptor that a shell script shares with lockctl.
//!
//! The lock belongs to the open file description, so it stays when lockctl ends, until the script closes the descriptor.

use crate::exit::Failure;
use crate::path_lock::OpenFile;

use super::acquire;
use super::args::{FdArgs, Operation};
use super::verbose::Verbose;

pub(crate) fn lock(args: &FdArgs) -> Result<(), Failure> {
    let operation = args.options.operation()?;
    let file = OpenFile::inherited(args.descriptor)?;
    let verbose = Verbose::start(args.options.verbose);
    match operation {
        Operation::Acquire(deadline) => drop(acquire::acquire_file(file, &args.options, deadline)?),
        Operation::Release => file.release()?,
    }
    verbose.took()
}
