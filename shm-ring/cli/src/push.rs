//! Push: stdin into a ring, line by line or behind lengths.
//!
//! (I1) whatever one read(2) returned is committed before the next; (I2) after an error, what came before it is in the ring.

use crate::args::{Push, WhenFull};
use crate::failure::{Code, Failure};
use crate::input::{Framed, Lines};
use crate::output::{self, Messages};
use crate::sink::{self, Head, Look, OnFull, Sink};
use crate::size::show_count;
use crate::stop::Stop;
use shm_ring::Stream;
use std::fs::File;

/// Runs the command.
pub(crate) fn run(args: &Push, messages: Messages) -> Result<(), Failure> {
    let ring = sink::open_or_create(&args.target, messages)?;
    let path = args.target.ring.clone();
    let stop = Stop::watch(move || {
        output::complain(&format!("{path:?} is full: interrupted, and what was read last was not pushed"));
        std::process::exit(Code::Full.number().into());
    })?;
    let look = if args.raw { Look::Raw } else { Look::Log };
    let on_full = match args.when_full {
        _ if args.no_wait => OnFull::Refuse,
        WhenFull::Wait => OnFull::Wait,
        WhenFull::Drop => OnFull::Drop,
        WhenFull::Fail => OnFull::Refuse,
    };
    let mut sink = Sink::new(&ring, &args.target, look, on_full, stop.blocking().clone(), messages)?;
    let tag = args.target.tag.as_deref().unwrap_or("");
    let head = sink.head(std::process::id(), Stream::Stdin, tag);
    let mut stdin = output::stdin()?;
    let pushed = if args.framed {
        push_framed(&mut stdin, &mut sink, &head, &stop)
    } else {
        push_lines(&mut stdin, &mut sink, &head, &stop)
    };
    let counts = sink.counts();
    let sum =
        format!("{:?}: {} records, {} bytes of payload", args.target.ring, counts.records, counts.bytes);
    messages.detail(&sum);
    if counts.dropped > 0 {
        let dropped = show_count(counts.dropped, "record was dropped", "records were dropped");
        messages.note(&format!("{:?} was full: {dropped}", args.target.ring));
    }
    pushed.map_err(|failure| match failure.code {
        Code::Full => {
            Failure::new(Code::Full, format!("{}; {} were pushed before", failure.message, counts.records))
        }
        _ => failure,
    })
}

fn push_lines(stdin: &mut File, sink: &mut Sink, head: &Head, stop: &Stop) -> Result<(), Failure> {
    let mut lines = Lines::new(sink.message_max(head));
    while stop.wait_readable(stdin)? {
        if lines.read(stdin).map_err(|error| Failure::io("read stdin", &error))? == 0 {
            break;
        }
        while let Some(line) = lines.next() {
            sink.add(head, line.bytes, line.partial)?;
        }
        sink.flush()?;
    }
    if let Some(line) = lines.rest() {
        sink.add(head, line.bytes, line.partial)?;
    }
    sink.flush()
}

fn push_framed(stdin: &mut File, sink: &mut Sink, head: &Head, stop: &Stop) -> Result<(), Failure> {
    let record_max = sink.message_max(head);
    let mut framed = Framed::new(record_max);
    while stop.wait_readable(stdin)? {
        if framed.read(stdin).map_err(|error| Failure::io("read stdin", &error))? == 0 {
            break;
        }
        loop {
            match framed.next() {
                Ok(Some(record)) => sink.add(head, record, false)?,
                Ok(None) => break,
                Err(too_long) => {
                    sink.flush()?;
                    let after = sink.counts().records;
                    return Err(Failure::new(
                        Code::Runtime,
                        format!(
                            "stdin: after {after} records comes one of {} bytes; this ring takes {record_max}",
                            too_long.len_bytes
                        ),
                    ));
                }
            }
        }
        sink.flush()?;
    }
    match framed.rest_bytes() {
        0 => Ok(()),
        _ if stop.is_asked() => Ok(()),
        rest => Err(Failure::new(
            Code::Runtime,
            format!("stdin ended inside a record: {rest} bytes are left over"),
        )),
    }
}
