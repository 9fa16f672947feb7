;; Returns its result at an address beyond its memory.
(memory (export "memory") 1)
(data (i32.const 128) "null")
(func (export "run") (param i32 i32 i32 i32 i32 i32 i32) (result i32)
  (i32.const 0xfffffff8))
