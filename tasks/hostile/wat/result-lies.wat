;; Returns a text of two gigabytes that begins in its memory of 64 KiB.
(memory (export "memory") 1)
(data (i32.const 128) "null")
(func (export "run") (param i32 i32 i32 i32 i32 i32 i32) (result i32)
  (i32.store (i32.const 12) (i32.const 128))
  (i32.store (i32.const 16) (i32.const 0x7fffffff))
  (i32.const 0))
