;; Fails with details that are longer than its memory.
(memory (export "memory") 1)
(data (i32.const 128) "null")
(func (export "run") (param i32 i32 i32 i32 i32 i32 i32) (result i32)
  (i32.store8 (i32.const 0) (i32.const 1))
  (i32.store8 (i32.const 48) (i32.const 1))
  (i32.store (i32.const 52) (i32.const 128))
  (i32.store (i32.const 56) (i32.const 0xfffffff0))
  (i32.const 0))
