//! Read: a sound header, and live page, slots and data from the fuzzer, before the ring is opened and while it is in use.
#![no_main]

use libfuzzer_sys::fuzz_target;
use shm_ring::{Ring, RingOptions, Wait};
use shm_ring_fuzz::{handles::Handles, scratch::Scratch, script::Script};

const WAITS: [Wait; 4] = [Wait::Adaptive, Wait::Block, Wait::Spin, Wait::Yield];

fuzz_target!(|bytes: &[u8]| {
    let scratch = Scratch::of_process();
    let mut script = Script::new(bytes);
    let mut image = scratch.sound(script.byte());
    let how = script.byte();
    for _ in 0..script.below(16) {
        image.forge(&mut script).into_iter().for_each(|word| image.set(word));
    }
    scratch.fill(&image.bytes);
    let wait = WAITS[usize::from(how >> 6)];
    if let Ok(ring) = RingOptions::new().wait(wait).open(scratch.path()) {
        let mut handles = Handles::of_ring(&ring);
        if how & 1 == 0 {
            handles.attach_all();
        }
        handles.run(&mut script.clone(), Some((scratch, &image)));
    }
    // The same calls without the library having repaired anything.
    if how & 2 == 0 {
        scratch.fill(&image.bytes);
        if let Ok(observer) = Ring::open_observer(scratch.path()) {
            Handles::of_observer(observer).run(&mut script, Some((scratch, &image)));
        }
    }
});
