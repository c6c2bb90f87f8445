/*
 * gate.h - who may see the pages, and by what name.
 */
#ifndef WORKER_ADMIN_GATE_H
#define WORKER_ADMIN_GATE_H

#include "common/conf.h"
#include "worker/http/head.h"

/* 0: go on. Else the status of the answer and, in *why, a sentence for whoever asked. */
unsigned gate_check(const struct conf_admin *a, const struct head *req, const struct addr *peer, const char **why);

#endif
