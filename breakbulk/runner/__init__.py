"""The use cases, one verb a file: submit, carve, work, finish, rescue, control, steward."""
