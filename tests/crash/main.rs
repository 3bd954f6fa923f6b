//! A process is killed with SIGKILL while it writes, seals and compacts: at random moments, and before and after each kind
//! of step. Every image it acknowledged is there afterwards, none that it deleted is back, and a check of the store is clean.
//!
//! A few random moments by default; `DOPPEL_TEST_CRASH_ROUNDS=200` for the long run, whose rounds take longer and longer
//! because each looks at every image of all rounds before. The process that dies is this test program itself, started again
//! with `DOPPEL_TEST_CRASH_CHILD` set: without it the tests that are its body do nothing.

#![expect(clippy::print_stdout, reason = "the long run tells how far it is")]

mod common;
mod random;
mod steps;
