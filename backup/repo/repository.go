package repo

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"

	"kvd/backup/blob"
	"kvd/kv"
)

// Errors that callers branch on.
var (
	ErrRepoTaken   = errors.New("repository taken")
	ErrNoRepo      = errors.New("no repository")
	ErrUnsafePlace = errors.New("the place lets two writers put one object")
	ErrBusy        = errors.New("repository busy")
	ErrNoPoint     = errors.New("no restore point")
)

// Repository is a repository of one store. Its methods are safe for concurrent use.
type Repository struct {
	place blob.Store
	store string // id, hex
}

// repoJSON is repo.json.
type repoJSON struct {
	Format int    `json:"format"`
	Store  string `json:"store"`
}

// Open returns the repository in a place. The error matches ErrNoRepo if there is none.
func Open(ctx context.Context, place blob.Store) (*Repository, error) {
	var j repoJSON
	_, err := get(ctx, place, repoName, smallMax, &j)
	if errors.Is(err, blob.ErrNotFound) {
		return nil, fmt.Errorf("%w in %s", ErrNoRepo, place)
	}
	if err != nil {
		return nil, err
	}
	if id, err := hex.DecodeString(j.Store); err != nil || len(id) != 16 {
		return nil, corrupt(place, repoName, "%.40q is no id of a store", j.Store)
	}
	return &Repository{place, j.Store}, nil
}

// openFor returns the repository of a store, and makes it if there is none.
func openFor(ctx context.Context, place blob.Store, store [16]byte) (*Repository, error) {
	id := hex.EncodeToString(store[:])
	r, err := Open(ctx, place)
	if errors.Is(err, ErrNoRepo) {
		r, err = create(ctx, place, id)
	}
	if err == nil && r.store != id {
		err = fmt.Errorf("%w: %s is of store %s, this is store %s: use another place for it", ErrRepoTaken, place, r.store, id)
	}
	return r, err
}

func create(ctx context.Context, place blob.Store, id string) (*Repository, error) {
	others, err := place.List(ctx, generationDir)
	if err != nil {
		return nil, err
	}
	if len(others) > 0 {
		return nil, corrupt(place, repoName, "it is missing, and there is %s: another place can be used", others[0].Name)
	}
	if err := probe(ctx, place); err != nil {
		return nil, err
	}
	err = put(ctx, place, repoName, repoJSON{format, id})
	if err != nil && !errors.Is(err, blob.ErrExists) {
		return nil, err
	}
	return Open(ctx, place) // another writer may have been first
}

// probe makes sure that the place refuses a second object of one name.
func probe(ctx context.Context, place blob.Store) error {
	name := probeDir + random()
	if err := place.Put(ctx, name, []byte("first")); err != nil {
		return err
	}
	second := place.Put(ctx, name, []byte("second"))
	if err := place.Delete(ctx, name); err != nil {
		return err
	}
	switch {
	case second == nil:
		return fmt.Errorf("%w: %s ignores \"If-None-Match: *\", so two stores could overwrite each other's backups: use another service", ErrUnsafePlace, place)
	case !errors.Is(second, blob.ErrExists):
		return second
	}
	return nil
}

// StoreID returns the id of the repository's store.
func (r *Repository) StoreID() (id [16]byte) {
	_, _ = hex.Decode(id[:], []byte(r.store)) // Open has checked it
	return id
}

// String names the place.
func (r *Repository) String() string { return r.place.String() }

// isDamage reports whether an error says that an object is not right, and not that it cannot be had.
func isDamage(err error) bool { return errors.Is(err, kv.ErrCorrupt) || errors.Is(err, kv.ErrVersion) }
