;; Computes for ever in its start function, before anything was called.
(func $start (loop $again (br $again)))
(start $start)
