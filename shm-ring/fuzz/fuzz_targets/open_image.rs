//! Open: arbitrary bytes as a whole file. What can be opened at all is looked at, attached to and used.
#![no_main]

use libfuzzer_sys::fuzz_target;
use shm_ring::Ring;
use shm_ring_fuzz::{handles::Handles, scratch::Scratch, script::Script};

/// The first byte's bits.
const RAW: u8 = 1;
const RIGHT_CHECKSUM: u8 = 2;
const OTHER_LENGTH: u8 = 4;
const OBSERVER_FIRST: u8 = 8;

fuzz_target!(|bytes: &[u8]| {
    let scratch = Scratch::of_process();
    let mut script = Script::new(bytes);
    let how = script.byte();
    let file = if how & RAW != 0 {
        script.split(usize::MAX).rest().to_vec()
    } else {
        let mut image = scratch.sound(script.byte());
        for _ in 0..script.below(4) {
            image.forge_header(&mut script);
        }
        for _ in 0..script.below(16) {
            image.forge(&mut script).into_iter().for_each(|word| image.set(word));
        }
        if how & RIGHT_CHECKSUM != 0 {
            image.seal_header();
        }
        if how & OTHER_LENGTH != 0 {
            image.bytes.resize(usize::from(script.short()), 0);
        }
        image.bytes
    };
    scratch.fill(&file);
    if how & OBSERVER_FIRST != 0 {
        observe(&mut script.clone(), scratch);
    }
    match Ring::open(scratch.path()) {
        Ok(ring) => {
            let mut handles = Handles::of_ring(&ring);
            handles.attach_all();
            handles.run(&mut script.clone(), None);
        }
        // Says what is wrong, which may be said of any bytes.
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    observe(&mut script, scratch);
});

fn observe(script: &mut Script<'_>, scratch: &Scratch) {
    if let Ok(observer) = Ring::open_observer(scratch.path()) {
        Handles::of_observer(observer).run(script, None);
    }
}
