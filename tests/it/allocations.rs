//! Allocations: how often a thread allocates, counted by this binary's allocator, which is the system's otherwise.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// How often this thread allocates in there, growing included.
pub(crate) fn allocations(work: impl FnOnce()) -> u64 {
    let before = ALLOCATIONS.get();
    work();
    ALLOCATIONS.get() - before
}

fn count() {
    // A thread that ends has no counter any more, and nobody who asks for it.
    let _ = ALLOCATIONS.try_with(|n| n.set(n.get() + 1));
}

// SAFETY: the system's allocator does everything; a counter without a destructor allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's obligations are the system allocator's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the same.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the same; what this allocator gave is the system's.
        unsafe { System.realloc(at, layout, size) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: the same.
        unsafe { System.dealloc(at, layout) }
    }
}

#[test]
fn allocations_are_counted() {
    // Goal: "it allocates nothing" can be wrong. Method: known numbers of allocations, and none.
    assert_eq!(allocations(|| ()), 0);
    assert_eq!(allocations(|| drop(std::hint::black_box(vec![1u8; 10]))), 1);
    assert_eq!(allocations(|| drop(std::hint::black_box((Box::new(1), vec![0u8; 10])))), 2);
    let mut grows = Vec::with_capacity(1);
    assert_eq!(allocations(|| grows.extend([1, 2])), 1);
}
