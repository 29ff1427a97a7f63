#!/bin/sh
# A study as a job that may be started again: begins it, or goes on with it where its folder is there already.
#
#   study-job STUDY SPACE OPTION...         options that `escsearch run` and `escsearch resume` both know
#
# Some trials that could not be trained (exit 5) are no reason to start the job again: 0.
set -eu
study=$1 space=$2
shift 2
code=0
if [ -e "${ESCSEARCH_HOME:-runs}/$study/study.yaml" ]; then
    escsearch resume "$study" "$@" || code=$?
else
    escsearch run "$space" --study "$study" "$@" || code=$?
fi
[ "$code" -eq 5 ] || exit "$code"
