;; Says that the input is to be written beyond the end of its memory.
(func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 0xfffffff0))
