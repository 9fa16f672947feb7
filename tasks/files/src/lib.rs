//! Tasks on files: an index of a granted directory, and a sort that needs more room than there is memory.

mod index;
mod sort;
