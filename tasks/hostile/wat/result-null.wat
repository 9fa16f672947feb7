;; Returns a text at the null pointer.
(memory (export "memory") 1)
(data (i32.const 128) "null")
(func (export "run") (param i32 i32 i32 i32 i32 i32 i32) (result i32)
  (i32.store (i32.const 12) (i32.const 0))
  (i32.store (i32.const 16) (i32.const 4))
  (i32.const 0))
