;; Returns a text that is no UTF-8.
(memory (export "memory") 1)
(data (i32.const 128) "\22\ff\fe\22")
(func (export "run") (param i32 i32 i32 i32 i32 i32 i32) (result i32)
  (i32.store (i32.const 12) (i32.const 128))
  (i32.store (i32.const 16) (i32.const 4))
  (i32.const 0))
