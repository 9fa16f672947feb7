;; Returns a hundred megabytes, all of which it has.
(memory (export "memory") 1600)
(data (i32.const 128) "null")
(func (export "run") (param i32 i32 i32 i32 i32 i32 i32) (result i32)
  (i32.store (i32.const 12) (i32.const 128))
  (i32.store (i32.const 16) (i32.const 0x06000000))
  (i32.const 0))
