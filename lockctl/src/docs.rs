//! `completions` and `man`: generated from the definition of the command line.

mod flock;

use clap_complete::Shell;

use crate::cli::Cli;
use crate::exit::Failure;
use crate::output;

pub(crate) fn completions(shell: Shell) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::definition(), "lockctl", &mut script);
    Ok(output::print(script)?)
}

/// Prints one page for the command and all its subcommands.
pub(crate) fn man() -> Result<(), Failure> {
    let mut page = Vec::new();
    let mut command = Cli::definition();
    command.build();
    clap_mangen::Man::new(command.clone()).render(&mut page)?;
    for subcommand in command.get_subcommands().filter(|subcommand| !subcommand.is_hide_set() && subcommand.get_name() != "help")
    {
        let name = subcommand.get_name().to_uppercase();
        page.extend_from_slice(format!(".SH {name}\n").as_bytes());
        let man = clap_mangen::Man::new(subcommand.clone());
        let mut section = Vec::new();
        man.render_synopsis_section(&mut section)?;
        man.render_description_section(&mut section)?;
        man.render_options_section(&mut section)?;
        // Demote the sections of the subcommand to subsections.
        page.extend_from_slice(String::from_utf8_lossy(&section).replace(".SH ", ".SS ").as_bytes());
    }
    page.extend_from_slice(flock::section().as_bytes());
    Ok(output::print(page)?)
}
