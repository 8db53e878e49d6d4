"""
What may happen to a task's row: one verb, one module, one conditional UPDATE.

    add, add_copies            -> READY
    note_sent     READY        -> READY, and Cloud Tasks has it
    claim         READY        -> RUNNING; also RUNNING, if its worker died
    end           RUNNING      -> SUCCESSFUL, FAILED, or READY once more
    rearm         RUNNING      -> READY, to be sent anew for another time
    release       RUNNING      -> READY, or FAILED, since its worker died
    cancel        READY        -> FAILED; a RUNNING task is told
    fail          READY        -> FAILED; also RUNNING, if its worker died
    redrive       FAILED       -> READY

The condition of each UPDATE says which rows it may change, so the database
decides, and who gets no row was too late. Every change of a task's state
belongs here, and nothing else: who decides that it is time for one stands
above.
"""
