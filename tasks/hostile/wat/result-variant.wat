;; Returns neither a success nor a failure, but the ninth of two cases.
(memory (export "memory") 1)
(data (i32.const 128) "null")
(func (export "run") (param i32 i32 i32 i32 i32 i32 i32) (result i32)
  (i32.store8 (i32.const 0) (i32.const 9))
  (i32.const 0))
