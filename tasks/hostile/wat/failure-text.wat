;; Fails with a kind that is no UTF-8.
(memory (export "memory") 1)
(data (i32.const 128) "\ff\fe\c0\80")
(func (export "run") (param i32 i32 i32 i32 i32 i32 i32) (result i32)
  (i32.store8 (i32.const 0) (i32.const 1))
  (i32.store (i32.const 8) (i32.const 128))
  (i32.store (i32.const 12) (i32.const 4))
  (i32.const 0))
