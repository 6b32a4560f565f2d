//! `watch`: the held and contended locks of a store, live. It acquires, delays and changes no lock.
//!
//! A reader reads the store. On a terminal, the screen shows a model that the readings and the keys change; elsewhere, a log prints what
//! changes.

mod args;
mod keys;
mod model;
mod plain;
mod reader;
mod row;
mod screen;
mod signals;
mod terminal;
mod view;

use self::model::Model;
use self::plain::Form;
use self::reader::Reader;
use self::row::Thresholds;
use crate::cli::StoreArgs;
use crate::exit::Failure;

pub(crate) use self::args::WatchArgs;

pub(crate) fn watch(store_args: &StoreArgs, args: &WatchArgs) -> Result<(), Failure> {
    let thresholds = Thresholds { hold: args.hold, wait: args.wait };
    let (reader, sample) = Reader::open(store_args.url()?, thresholds)?;
    if args.plain || args.json || !terminal::has_screen() {
        let form = if args.json { Form::Json } else { Form::Text };
        return plain::run(reader, sample, args.interval, form);
    }
    let model = Model::new(reader.url().to_owned(), args.interval, sample);
    screen::run(reader, model, args.interval)
}
