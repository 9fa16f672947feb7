;; Returns its result at an address that is not aligned.
(memory (export "memory") 1)
(data (i32.const 128) "null")
(func (export "run") (param i32 i32 i32 i32 i32 i32 i32) (result i32)
  (i32.const 3))
