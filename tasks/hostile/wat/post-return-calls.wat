;; Calls its host while it is asked to clean up.
(func (export "post-run") (param i32) (drop (call $is-cancelled)))
