;; Calls its host from within `realloc`, in the middle of the host's own call.
(func (export "realloc") (param i32 i32 i32 i32) (result i32)
  (drop (call $is-cancelled))
  (i32.const 4096))
